import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { join } from "node:path"

const script = join(import.meta.dirname, "..", "..", "scripts", "nodeVersion.ts")

// The script as it runs on another Node: `process.version` is what the check reads.
const startOn = (version: string) =>
  spawnSync(process.execPath, [
    "--input-type=module",
    "--eval",
    `Object.defineProperty(process, "version", { value: ${JSON.stringify(version)} })
     const NodeVersion = await import(${JSON.stringify(script)})
     NodeVersion.require()
     console.log("started")`
  ], { encoding: "utf8" })

describe("scripts/nodeVersion", () => {
  it.each(["v22.19.0", "v22.20.1", "v24.0.0", "v26.1.0"])("lets %s start", (version) => {
    assert.strictEqual(startOn(version).stdout, "started\n")
  })

  it.each(["v18.20.0", "v20.19.5", "v22.18.9"])("stops %s with the way out", (version) => {
    const { status, stderr, stdout } = startOn(version)
    assert.strictEqual(status, 1)
    assert.strictEqual(stdout, "")
    assert.match(stderr, /needs Node 22\.19 or newer, and this is v\d+.*npm ci.*without --ignore-scripts/)
  })
})
