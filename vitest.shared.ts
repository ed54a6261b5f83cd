import { defaultServerConditions } from "vite"
import { defineProject } from "vitest/config"

// Packages see each other's sources, so tests need no build.
const conditions = ["@headgate/source", ...defaultServerConditions]

export default defineProject({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  // A slow machine is no failure: no test measures time by its limit.
  test: { include: ["test/**/*.test.ts"], testTimeout: 60_000, hookTimeout: 120_000 }
})
