import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { resolve } from "node:path"

const root = resolve(import.meta.dirname, "..", "..")

// A start on another Node: the version that the check reads is replaced before it is loaded.
const startOn = (version: string) => {
  const pretend = `Object.defineProperty(process, "versions", { value: { ...process.versions, node: "${version}" } })`
  return spawnSync(process.execPath, [
    "--import",
    `data:text/javascript,${encodeURIComponent(pretend)}`,
    "--import",
    "./scripts/requireNode.mjs",
    "--input-type=module",
    "--eval",
    "console.log(\"started\")"
  ], { cwd: root, encoding: "utf8" })
}

describe("requireNode", () => {
  it.each(["22.19.0", "22.20.1", "24.0.0", "26.1.0"])("lets Node %s start", (version) => {
    const { stderr, stdout } = startOn(version)
    assert.strictEqual(stdout, "started\n", stderr)
  })

  it.each(["18.20.0", "20.19.5", "22.18.9"])("stops Node %s with the way out", (version) => {
    const { status, stderr, stdout } = startOn(version)
    assert.strictEqual(status, 1)
    assert.strictEqual(stdout, "")
    assert.match(stderr, /needs Node 22\.19 or newer, and this is \d+.*npm ci.*without --ignore-scripts/)
  })

  it("is preloaded by every npm script that runs TypeScript", () => {
    const { scripts }: { readonly scripts: Record<string, string> } = JSON.parse(
      readFileSync(resolve(root, "package.json"), "utf8")
    )
    const started = Object.entries(scripts).filter(([, command]) => /\bnode\b.*\.ts\b/.test(command))
    assert.isAbove(started.length, 3)
    for (const [name, command] of started) {
      assert.match(command, /^node --import \.\/scripts\/requireNode\.mjs \S+\.ts/, name)
    }
  })
})
