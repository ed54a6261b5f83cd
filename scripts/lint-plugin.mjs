// The two rules of the house style that oxlint does not have.
const forbid = (node, message, holds = () => true) => ({
  create: (context) => ({ [node]: (found) => holds(found) && context.report({ node: found, message }) })
})

export default {
  meta: { name: "headgate" },
  rules: {
    "no-try": forbid("TryStatement", "Use Effect.try or a typed error."),
    "no-current-date": forbid(
      "NewExpression",
      "Use Clock.",
      ({ callee, arguments: given }) => callee.name === "Date" && given.length === 0
    )
  }
}
