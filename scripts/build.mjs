// Makes dist anew, so that no file of a deleted source is published.
import { spawnSync } from "node:child_process"
import { globSync, rmSync } from "node:fs"
import { fileURLToPath } from "node:url"

process.chdir(fileURLToPath(new URL("..", import.meta.url)))
for (const dist of globSync("packages/*/dist")) rmSync(dist, { recursive: true })
const projects = globSync("packages/*/tsconfig.src.json").join(" ")
process.exit(spawnSync(`tsc -b ${projects}`, { shell: true, stdio: "inherit" }).status ?? 1)
