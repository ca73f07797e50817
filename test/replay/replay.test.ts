/**
 * The recorded material that is here, through the same modules that `npm run replay` runs; and that command's manners.
 */
import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describeData } from "../data.ts"
import * as AiSdkFixtures from "./aiSdkFixtures.ts"
import * as Bfcl from "./bfcl.ts"
import * as JsonParsing from "./jsonParsing.ts"
import * as NaughtyStrings from "./naughtyStrings.ts"
import type { SetReport } from "./report.ts"
import * as Wire from "./wire.ts"

const minutes = 60_000

const replays = (set: string, promise: string, replay: (folder: string) => Promise<SetReport>) =>
  describeData(set, `replay of ${set}`, (folder) => {
    it(promise, { timeout: 3 * minutes }, async () => {
      const report = await replay(folder)
      assert.isAbove(report.tried, 0)
      assert.deepStrictEqual(report.failures, [])
      assert.strictEqual(report.equal, report.tried)
    })
  })

replays(
  "wire",
  "every exchange and every error comes out as recorded, whole and cut, and each call runs once",
  Wire.replay
)
replays(
  "ai-sdk-fixtures",
  "every stream that speaks our wires comes out as recorded, whole and cut",
  AiSdkFixtures.replay
)
replays("bfcl", "every right answer reaches its handlers with equal arguments, all at once", Bfcl.replay)
replays("json-parsing", "P8: every text gives one result, and its siblings run", JsonParsing.replay)
replays("naughty-strings", "P12: every string survives as value, key, name and id", NaughtyStrings.replay)

describe("npm run replay", () => {
  const main = join(import.meta.dirname, "main.ts")
  const run = (...args: ReadonlyArray<string>) => spawnSync(process.execPath, [main, ...args], { encoding: "utf8" })

  const withFolder = (files: Readonly<Record<string, unknown>>, body: (folder: string) => void) => {
    const folder = mkdtempSync(join(tmpdir(), "replay-"))
    for (const [path, value] of Object.entries(files)) {
      mkdirSync(join(folder, path, ".."), { recursive: true })
      writeFileSync(join(folder, path), JSON.stringify(value))
    }
    body(folder)
    rmSync(folder, { recursive: true })
  }

  // A cassette of our own: one answer with one call, and what a decoder is said to have found in it.
  const cassette = (found: string) => ({
    "wire/one.json": {
      interactions: [{
        request: { url: "https://api.openai.com/v1/chat/completions" },
        response: {
          status: 200,
          headers: { "content-type": "application/json" },
          stream: false,
          bodyJson: {
            choices: [{
              index: 0,
              finish_reason: "tool_calls",
              message: { tool_calls: [{ id: "a", type: "function", function: { name: "f", arguments: "{\"n\":1}" } }] }
            }]
          }
        },
        expect: { format: "openai-chat", toolCalls: [{ id: "a", name: "f", arguments: found }] }
      }]
    }
  })

  it("prints one object a set with --json and exits 0 when all is equal", () => {
    withFolder(cassette("{\"n\":1}"), (folder) => {
      const { status, stdout } = run("--data", folder, "--json")
      assert.strictEqual(status, 0)
      assert.deepStrictEqual(JSON.parse(stdout), { set: "wire", tried: 1, equal: 1, failures: [] })
    })
  })

  it("names every difference and exits 1", () => {
    withFolder(cassette("{\"n\":2}"), (folder) => {
      const { status, stdout } = run("--data", folder, "--only", "wire", "--json")
      assert.strictEqual(status, 1)
      const report = JSON.parse(stdout) as SetReport
      assert.deepStrictEqual([report.tried, report.equal, report.failures[0]?.id], [1, 0, "one.json#0"])
    })
  })

  it("exits 2 with one line on bad usage", () => {
    for (const args of [["--only", "nonsense"], ["--data", "/no/such/folder"], ["--bogus"], ["extra"]]) {
      const { status, stderr } = run(...args)
      assert.strictEqual(status, 2, args.join(" "))
      assert.match(stderr, /^replay: .+\n$/, args.join(" "))
    }
  })
})
