// What is measured of whole programs: importing a package, bundling it, replaying traffic.
import { build } from "esbuild"
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { gzipSync } from "node:zlib"
import type { Contestant } from "../Contest.ts"

const here = fileURLToPath(new URL(".", import.meta.url))

const run = (...args: ReadonlyArray<string>) => {
  const { status, stderr, stdout } = spawnSync(process.execPath, args, { cwd: here, encoding: "utf8" })
  if (status !== 0) throw new Error(`node ${args.join(" ")} ended with ${status}:\n${stderr}`)
  return { stdout, stderr }
}

/** Milliseconds that importing `specifier` takes in a new process, in which `before` has been imported. */
export const importing = (specifier: string, before: string): Contestant => ({
  round: () => {
    const code = `${before === "" ? "" : `await import("${before}");`}
      const start = performance.now(); await import("${specifier}"); console.log(performance.now() - start)`
    return Number(run("--input-type=module", "--eval", code).stdout)
  }
})

/** Kilobytes of everything that `specifier` exports: bundled, minified, with gzip. */
export const bundling = (specifier: string, external: ReadonlyArray<string>): Contestant => ({
  round: async () => {
    const entry = fileURLToPath(import.meta.resolve(specifier))
    const { outputFiles } = await build({
      stdin: { contents: `import * as all from ${JSON.stringify(entry)}; globalThis.all = all`, resolveDir: here },
      bundle: true,
      minify: true,
      write: false,
      format: "esm",
      platform: "node",
      external: [...external],
      logLevel: "error"
    })
    return gzipSync(outputFiles[0]!.contents).length / 1000
  }
})

/**
 * Milliseconds that `headgate simulate` takes for a second of traffic: of its built-in hour, or of the trace that
 * HEADGATE_BENCH_TRACE names.
 */
export const simulating = (): Contestant => {
  const built = import.meta.resolve("headgate").includes("/dist/")
  const bin = fileURLToPath(new URL(`../../../cli/${built ? "dist/bin.js" : "src/bin.ts"}`, import.meta.url))
  const trace = process.env["HEADGATE_BENCH_TRACE"]
  return {
    round: () => {
      const { stderr } = run(bin, "simulate", "--json", ...(trace === undefined ? [] : ["--trace", trace]))
      const [, traffic, took] = /replayed (\d+) s of traffic in ([\d.]+) s/.exec(stderr)!
      return (Number(took) * 1000) / Number(traffic)
    }
  }
}
