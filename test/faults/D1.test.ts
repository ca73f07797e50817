import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { chatServer, chunk, ending, fixture, lines, runNode, toolformer } from "../cli/process.ts"
import type { Ended, Line, Running } from "../cli/process.ts"
import { describeRedis, redisServer } from "../redis.ts"
import { lateness } from "./redisClient.ts"

const temporary = (): { readonly path: string; readonly [Symbol.dispose]: () => void } => {
  const path = mkdtempSync(join(tmpdir(), "toolformer-shutdown-"))
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) }
}

const sites = (...kinds: ReadonlyArray<readonly [kind: string, count: number]>): ReadonlyArray<string> => {
  const urls = kinds.flatMap(([kind, count]) => Array.from({ length: count }, (_, i) => `https://${kind}-${i}.example`))
  return ["run", `Check ${urls.join(" and ")}`, "--tools", fixture("stubbornTools"), "--max-parallel", "100"]
}

const count = (text: string, part: string): number => text.split(part).length - 1
const running = (process: Running, calls: number) =>
  process.until(`${calls} calls run`, () => count(process.stdout(), "\"tool-started\"") === calls)
const draining = (process: Running) =>
  process.until("it says that it drains", () => process.stderr().includes("no new calls start"))

// Every call has one result, the output ends in whole lines, and nothing starts after the first cancelled call.
const results = (stdout: string): ReadonlyArray<Line> => {
  assert.isTrue(stdout.endsWith("\n"), stdout.slice(-200))
  const parts = lines(stdout)
  const found = parts.filter(({ type }) => type === "tool-result")
  const idsOf = (these: ReadonlyArray<Line>) => these.map(({ id }) => String(id)).toSorted()
  assert.isAbove(found.length, 0)
  assert.deepStrictEqual(idsOf(found), idsOf(parts.filter(({ type }) => type === "tool-call")))
  return found
}

const tagOf = (part: Line): string =>
  typeof part["result"] === "string" ? "ok" : String((part["result"] as { readonly _tag?: string })._tag)
const withTag = (parts: ReadonlyArray<Line>, tag: string): number => parts.filter((part) => tagOf(part) === tag).length

describeRedis("D1: SIGTERM with 50 running tools under permits in Redis, half of which ignore it", () => {
  it.live(
    "D1: the process is gone within the grace + 1 s, every call has its result, no lease is left",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const server = yield* redisServer()
        const late = yield* lateness
        const graceMillis = 2000
        const args = [
          ...sites(["polite", 25], ["deaf", 9], ["stuck", 8], ["catching", 8], ["waiting", 4]),
          "--json",
          "--grace",
          `${graceMillis} millis`
        ]
        const leases = Effect.map(
          server.send("EVAL", leaseCount, "0"),
          (reply) => Number(reply)
        )
        yield* Effect.acquireUseRelease(
          Effect.sync(() => toolformer(args, { env: { REDIS_URL: server.url } })),
          (process) =>
            Effect.gen(function*() {
              yield* Effect.promise(() => running(process, 50))
              assert.strictEqual(yield* leases, 50)
              process.kill("SIGTERM")
              const { code, millis } = yield* Effect.promise(() => process.ended)
              yield* Effect.logInfo(`D1: grace ${graceMillis} ms, gone after ${Math.round(millis)} ms`)
              assert.strictEqual(code, 1, process.stderr())
              assert.isAtLeast(millis, graceMillis)
              assert.isAtMost(millis, graceMillis + 1000 + late(), `this machine's own timers were ${late()} ms late`)
              const found = results(process.stdout())
              assert.strictEqual(withTag(found, "Cancelled"), 54)
              const unstarted = found.filter(({ result }) =>
                !(result as { executionStarted: boolean }).executionStarted
              )
              assert.strictEqual(unstarted.length, 4)
              assert.strictEqual(count(process.stdout(), "\"tool-abandoned\""), 25)
              assert.strictEqual(yield* leases, 0)
            }),
          (process) => Effect.sync(() => process[Symbol.dispose]())
        )
      })),
    60_000
  )
})

// Permits stand in sorted sets, one member each.
const leaseCount = `local held = 0
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('TYPE', key).ok == 'zset' then held = held + redis.call('ZCARD', key) end
end
return held`

describe("D1: SIGTERM", () => {
  it("D1: lets calls end that can, starts no other, and ends with exit code 0", async () => {
    using folder = temporary()
    const go = join(folder.path, "go")
    using process = toolformer([...sites(["quick", 5]).toSpliced(-1, 1, "3"), "--json"], {
      env: { GO: go, TOOLFORMER_GRACE: "1 minute" }
    })
    await running(process, 3)
    process.kill("SIGTERM")
    await draining(process)
    assert.match(process.stderr(), /running ones have 1m/)
    writeFileSync(go, "")
    const { code } = await process.ended
    assert.strictEqual(code, 0, process.stderr())
    const found = results(process.stdout())
    assert.deepStrictEqual([withTag(found, "ok"), withTag(found, "Cancelled")], [3, 2])
    assert.strictEqual(count(process.stdout(), "\"step-start\""), 1)
    assert.notInclude(process.stdout(), "run-finish")
    assert.match(process.stderr(), /\ntoolformer: The run was cancelled: the process is shutting down\n$/)
  })

  it("D1: says in plain lines how each call ended", async () => {
    using folder = temporary()
    const log = join(folder.path, "log")
    using process = toolformer([...sites(["polite", 1], ["deaf", 1]), "--grace", "100 millis"], {
      env: { SITE_LOG: log }
    })
    await process.until("both run", () => count(textOf(log), "started") === 2)
    process.kill("SIGTERM")
    const { code } = await process.ended
    assert.strictEqual(code, 1, process.stderr())
    assert.match(process.stdout(), /^cancelled +.* check_site https:\/\/polite-0\.example$/m)
    assert.match(process.stdout(), /^cancelled +.* check_site https:\/\/deaf-0\.example$/m)
    assert.include(textOf(log), "stopped https://polite-0.example")
  })

  it.each(["SIGTERM", "SIGINT"] as const)("D1: and then %s ends it at once", async (second) => {
    using process = toolformer([...sites(["deaf", 3]), "--json", "--grace", "10 minutes"])
    await running(process, 3)
    process.kill("SIGTERM")
    await draining(process)
    process.kill(second)
    const { code, millis } = await process.ended
    assert.strictEqual(code, 1)
    assert.isBelow(millis, 60_000)
    assert.isTrue(process.stdout().endsWith("\n"))
  })

  it("D1: after Ctrl-C ends it at once, with Ctrl-C's exit code", async () => {
    using process = toolformer([...sites(["deaf", 3]), "--json"])
    await running(process, 3)
    process.kill("SIGINT")
    process.kill("SIGTERM")
    assert.strictEqual((await process.ended).code, 130)
  })

  it("D1: does not wait for a tool that wants a longer time to stop", async () => {
    using process = toolformer([...sites(["polite", 1], ["slow", 2]), "--json", "--grace", "100 millis"], {
      env: { TOOL_GRACE: "1 hour" }
    })
    await running(process, 3)
    process.kill("SIGTERM")
    const { code, millis } = await process.ended
    assert.strictEqual(code, 1)
    assert.isBelow(millis, 60_000)
    assert.strictEqual(withTag(results(process.stdout()), "Cancelled"), 3)
    assert.strictEqual(count(process.stdout(), "\"tool-abandoned\""), 2)
  })

  it("D1: while it starts up ends it with nothing printed", async () => {
    const ended: Array<Ended> = []
    for (const afterMillis of [0, 100, 200, 300, 400]) {
      using process = toolformer([...sites(["deaf", 1]), "--json", "--grace", "10 minutes"])
      await new Promise((resolve) => setTimeout(resolve, afterMillis))
      process.kill("SIGTERM")
      ended.push(await process.ended)
      assert.strictEqual(process.stdout() + process.stderr(), "")
    }
    // Before its own code runs, the signal does what it does to every process.
    for (const { code, signal } of ended) assert.isTrue(code === 0 || signal === "SIGTERM", `${code} ${signal}`)
  })

  it("D1: while its tools are being made ready stops that, well before the grace is over", async () => {
    using folder = temporary()
    const log = join(folder.path, "log")
    const args = ["run", "Check https://a.example", "--tools", fixture("neverReady"), "--grace", "10 minutes"]
    using process = toolformer(args, { env: { SITE_LOG: log } })
    await process.until("it connects", () => textOf(log).includes("connecting"))
    process.kill("SIGTERM")
    const { code, millis } = await process.ended
    assert.strictEqual(code, 0, process.stderr())
    assert.isBelow(millis, 60_000)
    assert.strictEqual(textOf(log), "connecting\nlet go\n")
  })

  it("D1: while the model answers lets the answer come to its end, exit code 0", async () => {
    const open: Array<() => void> = []
    using server = await chatServer((response) => {
      response.write(chunk({ content: "It is " }))
      open.push(() => response.end(chunk({ content: "up." }) + ending("stop")))
    })
    using process = toolformer([...asked(server.url), "--json", "--grace", "1 minute"])
    await process.until("it streams", () => process.stdout().includes("It is "))
    process.kill("SIGTERM")
    await draining(process)
    open.forEach((finish) => finish())
    assert.strictEqual((await process.ended).code, 0, process.stderr())
    const last = lines(process.stdout()).at(-1)
    assert.deepInclude(last, { type: "run-finish", text: "It is up." })
  })

  it("D1: while the model answers refuses the calls it still makes, and asks it no more", async () => {
    const open: Array<() => void> = []
    using server = await chatServer((response) => {
      response.write(chunk({ content: "Let me see." }))
      const made = {
        index: 0,
        id: "c1",
        type: "function",
        function: { name: "check_site", arguments: "{\"url\":\"https://a.example\"}" }
      }
      open.push(() => response.end(chunk({ tool_calls: [made] }) + ending("tool_calls")))
    })
    using process = toolformer([...asked(server.url), "--json", "--grace", "1 minute"])
    await process.until("it streams", () => process.stdout().includes("Let me see"))
    process.kill("SIGTERM")
    await draining(process)
    open.forEach((finish) => finish())
    assert.strictEqual((await process.ended).code, 0, process.stderr())
    const [result] = results(process.stdout())
    assert.deepInclude(result!["result"], {
      _tag: "Cancelled",
      reason: { _tag: "Shutdown" },
      executionStarted: false
    })
    assert.notInclude(process.stdout(), "tool-started")
    assert.strictEqual(server.asked(), 1)
  })

  it("D1: while the model says nothing gives it the grace, then exit code 1", async () => {
    using server = await chatServer((response) => response.write(chunk({ content: "Well" })))
    using process = toolformer([...asked(server.url), "--json", "--grace", "200 millis"])
    await process.until("it streams", () => process.stdout().includes("Well"))
    process.kill("SIGTERM")
    const { code, millis } = await process.ended
    assert.strictEqual(code, 1, process.stderr())
    assert.isAtLeast(millis, 200)
    assert.isBelow(millis, 60_000)
    lines(process.stdout())
  })

  it("D1: while the model's turn waits for a limit ends that wait at once, exit code 0", async () => {
    using process = toolformer([...sites(["fine", 2]), "--json", "--grace", "10 minutes"], {
      env: { TOOLFORMER_LIMIT_SERVICE_LOCAL: "1 calls / 50 seconds" }
    })
    await process.until("the second turn waits", () => count(process.stdout(), "\"step-start\"") === 2)
    process.kill("SIGTERM")
    const { code, millis } = await process.ended
    assert.strictEqual(code, 0, process.stderr())
    assert.isBelow(millis, 60_000)
    assert.strictEqual(withTag(results(process.stdout()), "ok"), 2)
  })
})

const textOf = (path: string): string => {
  try {
    return readFileSync(path, "utf8")
  } catch {
    return ""
  }
}

const asked = (url: string): ReadonlyArray<string> => [
  "run",
  "Are the sites up?",
  "--tools",
  fixture("stubbornTools"),
  "--model",
  "m",
  "--base-url",
  url
]

describeRedis("D1: a program of one's own with layerRuns, under runMain", () => {
  it.live(
    "D1: ends its runs in order on SIGTERM, then its limiter, and leaves no lease",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const server = yield* redisServer()
        const file = fileURLToPath(new URL("./programs/serves.ts", import.meta.url))
        yield* Effect.acquireUseRelease(
          Effect.sync(() => runNode([file, "3 seconds", server.url])),
          (process) =>
            Effect.gen(function*() {
              yield* Effect.promise(() =>
                process.until("20 calls run", () => count(process.stdout(), "started") === 20)
              )
              process.kill("SIGTERM")
              const { millis } = yield* Effect.promise(() => process.ended)
              assert.isAtLeast(millis, 3000)
              assert.isBelow(millis, 60_000)
              const said = process.stdout().trim().split("\n").map((line) =>
                JSON.parse(line) as Record<string, unknown>
              )
              const ended = said.filter((line) => "ended" in line)
              assert.deepStrictEqual(ended.map((line) => line["ended"]).map(String).toSorted(), [
                "deaf",
                "polite",
                "short"
              ])
              for (const run of ended) {
                assert.deepStrictEqual(run["reason"], { _tag: "Cancelled", reason: { _tag: "Shutdown" } })
                assert.strictEqual((run["results"] as ReadonlyArray<string>).length, 10)
              }
              const short = ended.find((line) => line["ended"] === "short")!["results"] as ReadonlyArray<string>
              assert.include(short, "ok")
              assert.strictEqual(Number(yield* server.send("EVAL", leaseCount, "0")), 0)
            }),
          (process) => Effect.sync(() => process[Symbol.dispose]())
        )
      })),
    60_000
  )
})
