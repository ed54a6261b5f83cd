import type { Contest, Side, Table } from "../Contest.ts"

const importing = (name: string, specifier: string, before = ""): Side => ({
  name,
  load: () => import("../peers/programs.ts").then((peer) => peer.importing(specifier, before))
})

const bundling = (name: string, specifier: string, ...external: ReadonlyArray<string>): Side => ({
  name,
  load: () => import("../peers/programs.ts").then((peer) => peer.bundling(specifier, external))
})

const packages = ["rate-limiter-flexible", "bottleneck", "cockatiel", "p-retry", "p-queue", "limiter"]

const effects = ["effect/*"]

// Ours are imported where they are installed and when they are needed first.
const optional = ["@pydantic/genai-prices", "gpt-tokenizer/*"]

const bundle = (name: string, ours: Side, peers: ReadonlyArray<Side>): Contest => ({
  name,
  unit: "kB",
  rounds: 1,
  ours,
  peers
})

export const sizes: Table = {
  title: "Start-up and size",
  how:
    "Milliseconds of `await import(…)` in a new process. Kilobytes of all exports of a package, bundled by esbuild, minified, with " +
    "gzip; with and without what comes from `effect`, which an Effect application has anyway, and without optional peers.",
  contests: [
    {
      name: "import",
      unit: "ms",
      ours: importing("headgate", "headgate"),
      peers: [
        importing("effect", "effect"),
        importing("effect/persistence/RateLimiter", "effect/persistence/RateLimiter"),
        ...packages.map((specifier) => importing(specifier, specifier))
      ]
    },
    {
      name: "import, where effect has been imported",
      unit: "ms",
      ours: importing("headgate", "headgate", "effect"),
      peers: [
        importing("effect/persistence/RateLimiter", "effect/persistence/RateLimiter", "effect"),
        importing("rate-limiter-flexible", "rate-limiter-flexible", "effect")
      ]
    },
    bundle("bundle, with effect", bundling("headgate", "headgate", ...optional), [
      bundling("effect", "effect"),
      bundling("effect/persistence/RateLimiter", "effect/persistence/RateLimiter")
    ]),
    bundle(
      "bundle, without effect",
      bundling("headgate", "headgate", ...effects, ...optional),
      packages.map((specifier) => bundling(specifier, specifier))
    )
  ]
}
