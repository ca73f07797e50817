/**
 * `npm test`: vitest on a Node that can run the library. Arguments go through to vitest (`npm test -- test/domain`).
 */
import { spawnSync } from "node:child_process"
import { join, resolve } from "node:path"

const root = resolve(import.meta.dirname, "..")
const vitest = join(root, "node_modules", "vitest", "vitest.mjs")
const { signal, status } = spawnSync(process.execPath, [vitest, "run", ...process.argv.slice(2)], {
  cwd: root,
  stdio: "inherit"
})
process.exitCode = signal === null ? status ?? 1 : 1
