/**
 * The rivals' packages, in a folder of their own: installed from their lock file the first time a benchmark needs them.
 */
import { spawnSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

const folder = fileURLToPath(new URL("peers", import.meta.url))

/** Peers whose packages live in `peers/`. */
export const installedPeers: ReadonlySet<string> = new Set(["ai", "rate-limiter-flexible", "p-queue"])

const wanted = (): Readonly<Record<string, string>> =>
  (JSON.parse(readFileSync(`${folder}/package.json`, "utf8")) as { dependencies: Record<string, string> }).dependencies

/** Installs the packages if one is missing or of another version; returns what went wrong, if something did. */
export const install = (log: (line: string) => void): string | undefined => {
  if (Object.entries(wanted()).every(([name, pinned]) => version(name) === pinned)) return undefined
  log("installing the peers' packages into test/bench/peers (npm ci)")
  const npm = spawnSync("npm", ["ci"], { cwd: folder, stdio: ["ignore", "ignore", "inherit"] })
  return npm.status === 0 ? undefined : "npm ci failed in test/bench/peers: the peers need a package registry once; "
    + `run it there by hand${npm.error === undefined ? "" : ` (${npm.error.message})`}`
}

/** The version of a package that the peers' folder has. */
export const version = (name: string): string => {
  const file = `${folder}/node_modules/${name}/package.json`
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version : "not installed"
}
