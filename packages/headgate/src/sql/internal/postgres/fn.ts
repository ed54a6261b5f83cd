/** The verbs are planned for tables of any size: what was planned while they were empty serves when they are full. */
const isVerb = (signature: string): boolean => signature.includes("(command jsonb)")

/** The clock that a call was given, or the server's. */
export const clockOf = (given: string): string =>
  `coalesce(${given}, floor(extract(epoch FROM clock_timestamp()) * 1000)::int8)`

/** A function in PL/pgSQL. */
export const fn = (signature: string, body: string): string => {
  const volatility = / (IMMUTABLE|STABLE)$/.exec(signature)?.[1] ?? "VOLATILE"
  return `CREATE FUNCTION ${signature.replace(/ (IMMUTABLE|STABLE)$/, "")} LANGUAGE plpgsql ${volatility}${
    isVerb(signature) ? " SET enable_seqscan = off" : ""
  } AS $headgate$
#variable_conflict use_variable
${body};
$headgate$`
}
