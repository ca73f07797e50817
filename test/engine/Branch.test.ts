/** Completion policies over plain effects: who wins, who is interrupted and told why, and what nobody waits for. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import { Branch, CancelReason, Executor, ToolPolicy } from "../../src/index.ts"

/** An effect that ends after so many milliseconds, and notes why it was interrupted. */
const after = <A>(millis: number, effect: Effect.Effect<A, string>, reasons: Array<string> = []) =>
  Effect.andThen(Effect.sleep(millis), effect).pipe(
    Effect.onExit((exit) =>
      Effect.sync(() => {
        if (!Exit.isFailure(exit) || !Cause.hasInterruptsOnly(exit.cause)) return
        const reason = CancelReason.fromCause(exit.cause)
        reasons.push(reason === undefined ? "none" : CancelReason.message(reason))
      })
    )
  )

/** Runs under TestClock for so long and gives the exit, if there is one. */
const within = <A, E>(millis: number, effect: Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect)
    yield* TestClock.adjust(millis)
    return fiber.pollUnsafe()
  })

const errorOf = (exit: Exit.Exit<unknown, Branch.BranchError<string>> | undefined) =>
  exit !== undefined && Exit.isFailure(exit)
    ? Cause.squash(exit.cause) as Branch.BranchError<string>
    : assert.fail("it did not fail")

describe("race", () => {
  it.effect("gives the first success and interrupts the others at once, for a reason", () =>
    Effect.gen(function*() {
      const reasons: Array<string> = []
      const exit = yield* within(
        10,
        Branch.race([
          after(5, Effect.fail("no"), reasons),
          after(10, Effect.succeed("b"), reasons),
          after(20, Effect.succeed("c"), reasons)
        ])
      )
      assert.deepStrictEqual(exit, Exit.succeed("b"))
      assert.deepStrictEqual(reasons, ["superseded by branch 1"])
    }))

  it.effect("starts no more once one has succeeded in its first step", () =>
    Effect.gen(function*() {
      let started = 0
      const counted = Effect.sync(() => ++started)
      assert.strictEqual(yield* Branch.race([counted, counted, counted]), 1)
      assert.strictEqual(started, 1)
    }))

  it.effect("fails with every failure, typed and in order, when none succeeds", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(
        Branch.race([Effect.delay(Effect.fail("a"), 0), Effect.fail({ isRetryable: true }), Effect.die("c")])
      ).pipe(Effect.forkChild, Effect.tap(() => TestClock.adjust(1)), Effect.flatMap(Fiber.join))
      assert.strictEqual(error.reason._tag, "AllFailed")
      if (error.reason._tag !== "AllFailed") return
      assert.deepStrictEqual(
        error.reason.failures.map((failure) => failure._tag === "Failed" && Cause.squash(failure.cause)),
        ["a", { isRetryable: true }, "c"]
      )
      assert.isTrue(error.isRetryable)
      assert.include(error.message, "None of 3 effects succeeded")
    }))

  it.effect("fails typed for no effects", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Branch.race([]))
      assert.deepStrictEqual([error.reason._tag, error.isRetryable], ["InvalidPolicy", false])
    }))

  it.effect("is timed out by its own clock, and each effect by its own", () =>
    Effect.gen(function*() {
      const reasons: Array<string> = []
      const slow = after(100, Effect.succeed(1), reasons)
      const group = yield* within(30, Branch.race([slow, slow], { within: 30 }))
      assert.deepStrictEqual(errorOf(group).reason, { _tag: "TimedOut", afterMillis: 30 })
      const each = yield* within(40, Branch.race([slow, slow], { timeout: 40 }))
      const { reason } = errorOf(each)
      assert.deepStrictEqual(
        reason._tag === "AllFailed" && reason.failures.map((one) => one._tag === "Stopped" && one.reason),
        [CancelReason.timeout("branch", 40), CancelReason.timeout("branch", 40)]
      )
      assert.isTrue(errorOf(each).isRetryable)
      assert.strictEqual(reasons.length, 4)
    }))

  it.effect("waits for a loser that will not stop at most its grace", () =>
    Effect.gen(function*() {
      const deaf = Effect.uninterruptible(Effect.sleep("1 hour"))
      const early = yield* within(99, Branch.race([deaf, Effect.succeed(1)], { grace: 100 }))
      assert.isUndefined(early)
      const done = yield* within(100, Branch.run([deaf, Effect.succeed(1)], Branch.first(1), { grace: 100 }))
      assert.isTrue(done !== undefined && Exit.isSuccess(done))
      if (done === undefined || !Exit.isSuccess(done)) return
      assert.deepInclude(done.value.outcomes[0], { _tag: "Stopped", abandoned: true, started: true })
    }))

  it.effect("waits for the clean-up of a loser that does stop", () =>
    Effect.gen(function*() {
      let cleaned = false
      const careful = Effect.never.pipe(
        Effect.onInterrupt(() => Effect.andThen(Effect.sleep(50), Effect.sync(() => void (cleaned = true))))
      )
      const exit = yield* within(50, Branch.race([careful, Effect.succeed(1)]))
      assert.deepStrictEqual([exit, cleaned], [Exit.succeed(1), true])
    }))

  it.effect("interrupts all when it is interrupted, and waits for them", () =>
    Effect.gen(function*() {
      const reasons: Array<string> = []
      const fiber = yield* Effect.forkChild(
        Branch.race([after(100, Effect.succeed(1), reasons), after(100, Effect.succeed(2), reasons)])
      )
      yield* TestClock.adjust(10)
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(reasons, Array.from({ length: 2 }, () => "nobody waits for the answer any more"))
    }))

  it.effect("tells the promises of its losers why, and those of a call that is stopped around it", () =>
    Effect.gen(function*() {
      const reasons: Array<unknown> = []
      const listening = Executor.promise((signal) =>
        new Promise<number>((resolve) => signal.addEventListener("abort", () => resolve(reasons.push(signal.reason))))
      )
      assert.strictEqual(yield* Branch.race([listening, Effect.succeed(1)]), 1)
      assert.deepStrictEqual(reasons, [CancelReason.superseded("branch 1")])
      const { layer, toolkit } = ToolPolicy.define({
        racing: ToolPolicy.tool({
          success: Schema.Finite,
          annotations: { timeout: 50 },
          handler: () => Effect.orDie(Branch.race([listening, Branch.race([listening])]))
        })
      })
      const exit = yield* within(50, Effect.provide(Executor.call(toolkit.tools.racing, {}), layer))
      assert.isTrue(exit !== undefined && Exit.isFailure(exit))
      assert.deepStrictEqual(reasons.slice(1), Array.from({ length: 2 }, () => CancelReason.timeout("attempt", 50)))
    }))

  it.effect("may be won by an effect that another one's first step sets free", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const reasons: Array<string> = []
      const opens = Effect.andThen(Deferred.succeed(gate, undefined), after(100, Effect.succeed("late"), reasons))
      const exit = yield* within(1, Branch.race([Effect.as(Deferred.await(gate), "free"), opens]))
      assert.deepStrictEqual(exit, Exit.succeed("free"))
    }))

  it.effect("of 10,000 costs a constant step each", () =>
    Effect.gen(function*() {
      let interrupted = 0
      const loser = Effect.onInterrupt(Effect.never, () => Effect.sync(() => void interrupted++))
      const effects = Array.from({ length: 10_000 }, (_, i) => i === 9_999 ? Effect.succeed(i) : loser)
      assert.strictEqual(yield* Branch.race(effects), 9_999)
      assert.strictEqual(interrupted, 9_999)
      const scored = Array.from({ length: 10_000 }, (_, i) => Effect.succeed((i * 7919) % 10_007))
      const kept = yield* Branch.best(scored, { score: (n) => n, keep: 5000 })
      assert.strictEqual(kept.length, 5000)
      assert.isTrue(kept.every((value, i) => i === 0 || value <= kept[i - 1]!))
    }))
})

describe("best", () => {
  it.effect("gives the best, the best first, and of equals the earlier", () =>
    Effect.gen(function*() {
      const of = (name: string, score: number) => Effect.succeed({ name, score })
      const kept = yield* Branch.best([of("a", 1), of("b", 3), of("c", 2), of("d", 3)], { score: "score", keep: 3 })
      assert.deepStrictEqual(kept.map(({ name }) => name), ["b", "d", "c"])
    }))

  it.effect("ends at once when enough is reached", () =>
    Effect.gen(function*() {
      const exit = yield* within(
        10,
        Branch.best([after(10, Effect.succeed(9)), after(20, Effect.succeed(10))], { score: (n) => n, enough: 9 })
      )
      assert.deepStrictEqual(exit, Exit.succeed([9]))
    }))

  it.effect("chooses among what there is when its time is up", () =>
    Effect.gen(function*() {
      const exit = yield* within(
        15,
        Branch.best([after(10, Effect.succeed(1)), after(20, Effect.succeed(10))], { score: (n) => n, within: 15 })
      )
      assert.deepStrictEqual(exit, Exit.succeed([1]))
    }))

  it.effect.each<readonly [string, number]>([["NaN", Number.NaN], ["Infinity", Infinity]])(
    "never lets a score of %s win",
    ([, score]) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* Branch.best([Effect.succeed(score), Effect.succeed(1)], { score: (n) => n }), [1])
        const error = yield* Effect.flip(Branch.best([Effect.succeed(score)], { score: (n) => n }))
        assert.deepInclude(error.reason, { _tag: "InvalidScore", branch: 0 })
        assert.include(error.message, `its score is ${score}`)
      })
  )

  it.effect("never lets a throwing score win", () =>
    Effect.gen(function*() {
      const score = (n: number): number => {
        if (n === 2) throw new Error("no idea")
        return n
      }
      assert.deepStrictEqual(yield* Branch.best([Effect.succeed(1), Effect.succeed(2)], { score }), [1])
      const error = yield* Effect.flip(Branch.best([Effect.succeed(2)], { score }))
      assert.include(error.message, "its score threw Error: no idea")
    }))

  it.effect("fails typed, and starts nothing, when more are to be kept than there are", () =>
    Effect.gen(function*() {
      let started = 0
      const error = yield* Effect.flip(
        Branch.best([Effect.sync(() => ++started)], { score: (n) => n, keep: 2 })
      )
      assert.deepStrictEqual([error.reason._tag, error.message, started], [
        "InvalidPolicy",
        "keep is 2, and there are 1 effects",
        0
      ])
    }))
})

describe("quorum", () => {
  it.effect("gives the values of those that agree", () =>
    Effect.gen(function*() {
      const votes = ["a", "b", "a", "a"].map((vote) => Effect.succeed(vote))
      assert.deepStrictEqual(yield* Branch.quorum(votes, 2, { agree: (vote) => vote }), ["a", "a"])
      assert.deepStrictEqual(yield* Branch.quorum(votes, 2), ["a", "b"])
    }))

  it.effect("gives up as soon as it cannot be reached", () =>
    Effect.gen(function*() {
      const reasons: Array<string> = []
      const exit = yield* within(
        10,
        Branch.quorum(
          [after(5, Effect.succeed("a")), after(10, Effect.succeed("b")), after(99, Effect.succeed("c"), reasons)],
          3,
          { agree: (vote) => vote }
        )
      )
      assert.deepInclude(errorOf(exit).reason, { _tag: "Unreachable", needed: 3, agreeing: 1 })
      const split = Branch.quorum([Effect.succeed(1), Effect.succeed(2)], 2, { agree: (vote) => vote })
      assert.strictEqual((yield* Effect.flip(split)).message, "At most 1 effects can agree, and 2 must")
      assert.strictEqual(reasons.length, 1)
    }))
})

describe("run", () => {
  it.effect("lets every effect end under all, whatever fails", () =>
    Effect.gen(function*() {
      const ended = yield* Branch.run([Effect.succeed(1), Effect.fail("no"), Effect.succeed(3)], Branch.all())
      assert.deepStrictEqual(ended.winners, [{ branch: 0, value: 1 }, { branch: 2, value: 3 }])
      assert.deepStrictEqual([ended.outcome, ...ended.outcomes.map(({ _tag }) => _tag)], [
        "decided",
        "Succeeded",
        "Failed",
        "Succeeded"
      ])
    }))
})

describe("run, in one step", () => {
  it.effect("says why of those that run and of those that were not started any more", () =>
    Effect.gen(function*() {
      const ended = yield* Branch.run([Effect.never, Effect.succeed(1), Effect.never], Branch.first(1))
      const stopped = { _tag: "Stopped" as const, reason: CancelReason.superseded("branch 1"), abandoned: false }
      assert.deepStrictEqual(ended.outcomes, [
        { ...stopped, started: true },
        { _tag: "Succeeded", value: 1 },
        { ...stopped, started: false }
      ])
    }))
})

describe("hedge", () => {
  const flaky = (durations: ReadonlyArray<number>, starts: Array<string>) => {
    let attempt = 0
    return Effect.suspend(() => {
      const n = attempt++
      starts.push(`start ${n}`)
      return after(durations[n]!, durations[n] === 7 ? Effect.fail(`failed ${n}`) : Effect.succeed(n), starts)
    })
  }

  it.effect("starts no second attempt when the first is in time", () =>
    Effect.gen(function*() {
      const starts: Array<string> = []
      const exit = yield* within(500, Branch.hedge({ after: 100 })(flaky([50, 1], starts)))
      assert.deepStrictEqual([exit, starts], [Exit.succeed(0), ["start 0"]])
    }))

  it.effect("lets the faster attempt win and interrupts the other", () =>
    Effect.gen(function*() {
      const starts: Array<string> = []
      const exit = yield* within(150, Branch.hedge({ after: 100 })(flaky([1000, 50], starts)))
      assert.deepStrictEqual([exit, starts], [Exit.succeed(1), ["start 0", "start 1", "superseded by branch 1"]])
    }))

  it.effect("starts at most max further attempts, one after the other", () =>
    Effect.gen(function*() {
      const starts: Array<string> = []
      yield* within(1000, Branch.hedge({ after: 100, max: 2 })(flaky([9000, 9000, 9000, 9000], starts)))
      assert.deepStrictEqual(starts.filter((line) => line.startsWith("start")), ["start 0", "start 1", "start 2"])
    }))

  it.effect("does not retry: it fails when all that were started have failed, with the first failure", () =>
    Effect.gen(function*() {
      const starts: Array<string> = []
      const exit = yield* within(7, Branch.hedge({ after: 100 })(flaky([7, 1], starts)))
      assert.deepStrictEqual([exit, starts], [Exit.fail("failed 0"), ["start 0"]])
      const both = yield* within(107, Branch.hedge({ after: 3 })(flaky([7, 7], [])))
      assert.deepStrictEqual(both, Exit.fail("failed 0"))
    }))
})

describe("constants", () => {
  const policies: ReadonlyArray<readonly [string, () => unknown, RegExp]> = [
    ["first(0)", () => Branch.first(0), /Branch\.first: count is 0; it must be an integer of at least 1/],
    ["first(1.5)", () => Branch.first(1.5), /1\.5/],
    ["quorum(NaN)", () => Branch.quorum(Number.NaN), /NaN/],
    ["quorum(-1)", () => Branch.quorum(-1), /-1/],
    ["keep 0", () => Branch.best({ score: "s", keep: 0 }), /keep is 0/],
    ["enough NaN", () => Branch.best({ score: "s", enough: Number.NaN }), /enough is NaN/],
    ["an empty field", () => Branch.best({ score: "" }), /score is ""/],
    ["a timeout of 0", () => Branch.all({ timeout: 0 }), /timeout is 0/],
    ["a negative time", () => Branch.first(1).pipe(Branch.within(-5)), /-5/],
    ["a time of NaN", () => Branch.first(1).pipe(Branch.within(Number.NaN)), /NaN/],
    ["max 0", () => Branch.hedge({ after: 1, max: 0 }), /max is 0/]
  ]
  it.each(policies)("that make no sense die where they are written: %s", (_, make, message) => {
    assert.throws(make, message)
  })

  it("are kept as they were by within", () => {
    const policy = Branch.best({ score: "s", keep: 2, enough: 3, timeout: 5 }).pipe(Branch.within("1 second"))
    assert.deepInclude({ ...policy }, { _tag: "Best", count: 2, score: "s", enough: 3 })
  })
})
