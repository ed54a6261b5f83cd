// Runs before every npm script, on whatever Node the machine has: plain JavaScript for Node 18 and newer.
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { delimiter, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const needed = [22, 19]

if (!isInstalled()) {
  // One command string: on Windows npm is a script that only a shell can start.
  const npm = spawnSync("npm ci --no-audit --no-fund --loglevel=error", { cwd: root, shell: true, stdio: "inherit" })
  if (npm.status !== 0) stop("The dependencies are not installed: `npm ci` failed, see its message above.")
}

const version = nodeOfScripts()
if (!isNewEnough(version)) {
  stop(
    `headgate needs Node ${needed.join(".")} or newer but npm scripts get ${version || "none"} here: ` +
      "run `npm ci` without --ignore-scripts, which brings Node 24 into node_modules, or install a newer Node."
  )
}

// npm writes node_modules/.package-lock.json last, with what it has put there.
function isInstalled() {
  const wanted = packagesIn("package-lock.json")
  const present = packagesIn("node_modules/.package-lock.json")
  return (
    wanted !== undefined &&
    present !== undefined &&
    Object.entries(wanted).every(([path, entry]) => {
      if (!path.startsWith("node_modules/")) return true
      const found = present[path]
      return found ? found.version === entry.version && found.integrity === entry.integrity : entry.optional === true
    })
  )
}

function packagesIn(file) {
  try {
    return JSON.parse(readFileSync(join(root, file), "utf8")).packages
  } catch {
    return undefined
  }
}

// npm puts node_modules/.bin first; asking again matters because `npm ci` may just have brought another Node.
function nodeOfScripts() {
  const PATH = [join(root, "node_modules", ".bin"), process.env.PATH].join(delimiter)
  const { stdout } = spawnSync("node", ["--version"], { encoding: "utf8", env: { ...process.env, PATH } })
  return (stdout || "").trim()
}

function isNewEnough(version) {
  const [major, minor] = version.replace("v", "").split(".").map(Number)
  return major > needed[0] || (major === needed[0] && minor >= needed[1])
}

function stop(sentence) {
  console.error(sentence)
  process.exit(1)
}
