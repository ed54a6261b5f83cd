import { defaultServerConditions } from "vite"
import { defineProject } from "vitest/config"

// Packages see each other's sources, so tests need no build.
const conditions = ["@headgate/source", ...defaultServerConditions]

export default defineProject({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: { include: ["test/**/*.test.ts"] }
})
