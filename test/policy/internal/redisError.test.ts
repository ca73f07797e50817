import { assert, describe, it } from "@effect/vitest"
import { codeOf, fromCause, timedOut, unreadable } from "../../../src/policy/internal/redisError.ts"

const reply = (message: string): Error => Object.assign(new Error(message), { name: "ReplyError" })

const refused: ReadonlyArray<readonly [message: string, code: string, isTransient: boolean]> = [
  [
    "WRONGTYPE Operation against a key holding the wrong kind of value script: 0a, on @user_script:3.",
    "WRONGTYPE",
    false
  ],
  [
    "ERR Error running script (call to f_0a): @user_script:3: @user_script: 3: -READONLY You can't write",
    "READONLY",
    true
  ],
  ["READONLY You can't write against a read only replica.", "READONLY", true],
  ["OOM command not allowed when used memory > 'maxmemory'.", "OOM", true],
  ["LOADING Redis is loading the dataset in memory", "LOADING", true],
  ["BUSY Redis is busy running a script.", "BUSY", true],
  ["MOVED 3999 127.0.0.1:6381", "MOVED", true],
  ["TRYAGAIN Multiple keys request during rehashing of slot", "TRYAGAIN", true],
  ["CLUSTERDOWN Hash slot not served", "CLUSTERDOWN", true],
  ["CROSSSLOT Keys in request don't hash to the same slot", "CROSSSLOT", false],
  ["NOSCRIPT No matching script. Please use EVAL.", "NOSCRIPT", true],
  ["NOAUTH Authentication required.", "NOAUTH", false],
  ["ERR unknown command 'EVALSHA'", "ERR", false]
]

describe("redisError", () => {
  it.each(refused)("an answer that is an error is Refused: %s", (message, code, isTransient) => {
    const adapter = { kind: "Refused", message, code }
    for (const cause of [reply(message), new Error(message), adapter]) {
      assert.strictEqual(codeOf(cause), code)
      const error = fromCause(cause)
      assert.deepInclude({ ...error }, { kind: "Refused", isTransient })
      assert.include(error.message, message.slice(0, 40))
      assert.notProperty(error, "key")
    }
  })

  it("names the key that is to blame", () => {
    const error = fromCause(reply("WRONGTYPE Operation"), "{p:n}:s")
    assert.strictEqual(error.key, "{p:n}:s")
    assert.include(error.message, "{p:n}:s")
  })

  it.each([
    ["connect ECONNREFUSED 127.0.0.1:1", undefined],
    ["Stream isn't writeable and enableOfflineQueue options is false", undefined],
    ["The client is closed", undefined],
    ["no connection to Redis (reconnecting): LOADING Redis is loading the dataset", "Unreachable"]
  ])("what was never sent is Unreachable: %s", (message, kind) => {
    const cause = kind === undefined ? new Error(message) : { kind, message }
    assert.deepInclude({ ...fromCause(cause) }, { kind: "Unreachable", isTransient: true })
  })

  it.each([
    ["Command timed out", "TimedOut"],
    ["Connection is lost", "Disconnected"],
    ["Socket closed unexpectedly", undefined],
    ["connect ETIMEDOUT", undefined]
  ])("what may have been applied is TimedOut: %s", (message, kind) => {
    const cause = kind === undefined ? new Error(message) : { kind, message }
    assert.deepInclude({ ...fromCause(cause) }, { kind: "TimedOut", isTransient: true })
  })

  it("takes any value for a cause, and cuts what is too long", () => {
    for (const cause of [undefined, null, 1, "text", {}, [], Symbol("s"), { message: 1 }]) {
      assert.strictEqual(fromCause(cause)._tag, "LimiterStoreError")
    }
    assert.isBelow(fromCause(new Error("x".repeat(100_000))).message.length, 1000)
    assert.isBelow(unreadable(Array.from({ length: 10_000 }, () => "x")).message.length, 1000)
    assert.include(timedOut(250).message, "250 ms")
  })
})
