/**
 * Turns that break off and are asked again, at random: what is made, when it breaks, what the next answer makes again, who is
 * cancelled meanwhile, and whether it ends well. A failing seed is in the message; `LAW_SEED=n` runs it alone.
 */
import { assert, describe, it } from "@effect/vitest"
import type * as Prompt from "effect/ai/Prompt"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionPlan from "effect/ExecutionPlan"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import type { AnyPart } from "../../src/domain/ToolEvent.ts"
import { Orchestrator, ToolPolicy } from "../../src/index.ts"
import { TestModel, ToolCall } from "../../src/testing/index.ts"
import { aiError, recording } from "../model.ts"
import { random } from "../random.ts"
import { retrying } from "../retry.ts"

type Random = ReturnType<typeof random>

/** `save` and `drop` write; `late` writes too, and does not stop when asked. */
const names = ["look", "put", "save", "drop", "late", "ask", "nope"] as const
const isWrite = (name: string) => name === "save" || name === "drop" || name === "late"

interface Made {
  readonly id: string
  readonly name: typeof names[number]
  readonly n: number
}

const keyOf = ({ n, name }: { readonly name: string; readonly n: number }) => `${name} ${n}`

interface Story {
  readonly answers: ReadonlyArray<ReadonlyArray<Made>>
  readonly scripts: ReadonlyArray<TestModel.Turn>
  readonly cancels: ReadonlyArray<{ readonly at: number; readonly id: string }>
  readonly concurrency: number
  readonly retries: number
  readonly endsWell: boolean
  readonly failover: boolean
}

const story = (seed: number): Story => {
  const r = random(seed)
  const breaks = r.int(1, 4)
  const endsWell = r.chance(0.8)
  const answers: Array<ReadonlyArray<Made>> = []
  for (let i = 0; i <= breaks; i++) answers.push(answerOf(r, answers.at(-1) ?? [], i))
  return {
    answers,
    scripts: answers.map((made, i) => scriptOf(r, made, i < breaks || !endsWell)),
    cancels: Array.from({ length: r.chance(0.4) ? r.int(1, 3) : 0 }, () => ({
      at: r.int(0, 3000),
      id: r.pick(answers.flat().map(({ id }) => id).concat("none"))
    })),
    concurrency: r.pick([1, 2, 5, 30]),
    retries: r.chance(0.5) ? breaks : r.int(0, breaks),
    endsWell,
    failover: r.chance(0.5)
  }
}

// The next answer makes most of the calls again, in another order, some twice, and some that are new.
const answerOf = (r: Random, before: ReadonlyArray<Made>, answer: number): ReadonlyArray<Made> => {
  const again = before.filter(() => r.chance(0.8)).flatMap((made) => r.chance(0.15) ? [made, made] : [made])
  const fresh = Array.from({ length: r.int(0, 4) }, () => ({ id: "", name: r.pick(names), n: r.int(0, 2) }))
  const all = [...again, ...fresh].slice(0, 12)
  if (r.chance(0.5)) all.reverse()
  // Wire ids are the provider's: the same again, one for two calls, or new ones.
  const same = r.chance(0.5)
  return all.map((made, n) => ({ ...made, id: same ? `c${n}` : r.chance(0.1) ? "c0" : `a${answer}_${n}` }))
}

const scriptOf = (r: Random, made: ReadonlyArray<Made>, breaks: boolean): TestModel.Turn => {
  const items: ReadonlyArray<TestModel.Item> = made.flatMap(({ id, n, name }) => {
    const chunk = TestModel.chunk(ToolCall(name, r.chance(0.5) ? { n, m: 1 } : { m: 1, n }, { id }))
    return r.chance(0.5) ? [chunk] : [TestModel.wait(r.int(0, 800)), chunk]
  })
  if (!breaks) return [...items, TestModel.finish("tool-calls")]
  const torn = r.chance(0.4)
    ? [TestModel.chunk(TestModel.call(ToolCall("save", {}, { id: "torn" }), { open: true, chunks: ["{\"n\":"] }))]
    : []
  // It may break behind its own end mark, too.
  const ended = r.chance(0.1) ? [TestModel.finish("tool-calls")] : []
  return [...items, ...torn, ...ended, TestModel.wait(r.int(0, 500)), TestModel.fail(aiError)]
}

// ---- what is seen ---------------------------------------------------------------------------------------------------------

const setUp = (seed: number) => {
  const starts: Array<string> = []
  const live = { running: 0 }
  const work = (name: string, n: number, millis: number) =>
    Effect.suspend(() => {
      starts.push(keyOf({ name, n }))
      live.running++
      return Effect.sleep(millis)
    }).pipe(
      Effect.andThen(Effect.suspend((): Effect.Effect<string, { readonly why: string }> =>
        (seed + n) % 5 === 0
          ? Effect.fail({ why: "no" })
          : (seed + n) % 7 === 0
          ? Effect.die("bug")
          : Effect.succeed("ok")
      )),
      Effect.ensuring(Effect.sync(() => live.running--))
    )
  const tool = (name: string, annotations: ToolPolicy.Annotations<{ readonly n: number }>, scale: number) =>
    ToolPolicy.tool({
      parameters: Schema.Struct({ n: Schema.Finite, m: Schema.Finite }),
      success: Schema.String,
      failure: Schema.Struct({ why: Schema.String }),
      annotations,
      handler: ({ n }) => name === "late" ? Effect.uninterruptible(work(name, n, 300)) : work(name, n, n * scale)
    })
  return {
    starts,
    live,
    ...ToolPolicy.define({
      look: tool("look", { readonly: true, timeout: "1 second" }, 700),
      put: tool("put", { idempotent: true }, 400),
      save: tool("save", { timeout: "1 second", resources: ({ n }) => [{ write: `k${n}` }] }, 600),
      drop: tool("drop", { destructive: true }, 100),
      late: tool("late", { timeout: "100 millis" }, 0),
      ask: { ...tool("ask", { readonly: true }, 10), needsApproval: ({ n }: { readonly n: number }) => n === 0 }
    })
  }
}

const observe = (seed: number, told: Story) =>
  Effect.gen(function*() {
    const { layer, live, starts, toolkit } = setUp(seed)
    const parts: Array<AnyPart> = []
    // Where the plan has it, the last answer comes from the next model.
    const here = told.failover ? told.scripts.slice(0, -1) : told.scripts
    const failover = ExecutionPlan.make({ provide: recording(...told.scripts.slice(-1)).layer })
    const retry = retrying(Array.from({ length: told.retries }, (_, n) => n * 100))
    const fiber = yield* Orchestrator.stream({
      prompt: "go",
      toolkit,
      runId: `retried_${seed}`,
      toolCallConcurrency: told.concurrency,
      ...(told.failover ? { failover } : undefined)
    }).pipe(
      Stream.runForEach((part) => Effect.sync(() => parts.push(part as AnyPart))),
      Effect.result,
      Effect.provide([layer, recording(...here).layer, retry.layer]),
      Effect.forkChild
    )
    for (const { at, id } of told.cancels) {
      yield* Effect.forkChild(
        Effect.delay(Orchestrator.cancel({ runId: `retried_${seed}`, callId: id }), Duration.millis(at))
      )
    }
    for (let i = 0; i < 400 && fiber.pollUnsafe() === undefined; i++) yield* TestClock.adjust(100)
    if (fiber.pollUnsafe() === undefined) return yield* Effect.die(new Error(`seed ${seed}: the run did not end`))
    const ended = yield* Fiber.join(fiber)
    const error = ended._tag === "Failure" ? ended.failure : undefined
    const atEnd = { starts: starts.length }
    yield* TestClock.adjust("1 minute")
    return { parts, starts, live, atEnd, error }
  })

const idsIn = (prompt: Prompt.Prompt, type: string) =>
  prompt.content.flatMap(({ content }) =>
    typeof content === "string"
      ? []
      : (content as ReadonlyArray<{ readonly type: string; readonly id: string }>).filter((part) => part.type === type)
        .map(({ id }) => id)
  )

const countOf = <A>(items: ReadonlyArray<A>, key: (item: A) => string) => {
  const counts = new Map<string, number>()
  for (const item of items) counts.set(key(item), (counts.get(key(item)) ?? 0) + 1)
  return counts
}

const faultsOf = (told: Story, seen: Effect.Success<ReturnType<typeof observe>>): ReadonlyArray<string> => {
  const { atEnd, error, live, parts, starts } = seen
  const faults: Array<string> = []
  const expect = (holds: boolean, what: string) => void (holds || faults.push(what))
  const made = parts.flatMap((part) => part.type === "tool-call" ? [part.id] : [])
  const asks = parts.flatMap((part) => part.type === "tool-approval-request" ? [part.toolCallId] : [])
  const answered = countOf(parts.filter((part) => part.type === "tool-result"), ({ id }) => id)
  expect(new Set(made).size === made.length, "two calls have one id")
  for (const id of made) {
    expect((answered.get(id) ?? 0) + (asks.includes(id) ? 1 : 0) === 1, `${id} has ${answered.get(id) ?? 0} results`)
  }
  for (const [id] of answered) expect(made.includes(id), `${id} was answered and never made`)
  // A write starts at most as often as the answer that made it most often.
  const most = new Map<string, number>()
  for (const answer of told.answers) {
    for (const [key, count] of countOf(answer, keyOf)) most.set(key, Math.max(most.get(key) ?? 0, count))
  }
  for (const [key, count] of countOf(starts.filter((key) => isWrite(key.split(" ")[0]!)), (key) => key)) {
    expect(count <= (most.get(key) ?? 0), `${key} started ${count} times`)
  }
  const end = parts.at(-1)
  const prompt = end?.type === "run-finish" ? end.prompt : (error as { readonly prompt?: Prompt.Prompt })?.prompt
  if (prompt !== undefined) {
    const calls = idsIn(prompt, "tool-call")
    expect(new Set(calls).size === calls.length, "the history has a call twice")
    const awaited = new Set(calls.filter((id) => asks.includes(id) && !answered.has(id)))
    expect(
      idsIn(prompt, "tool-result").join() === calls.filter((id) => !awaited.has(id)).join(),
      `the history's calls ${calls.join()} have the results ${idsIn(prompt, "tool-result").join()}`
    )
    const adopted = new Set(parts.flatMap((part) => part.type === "tool-adopted" ? [part.from] : []))
    for (const part of parts) {
      if (part.type !== "tool-started") continue
      expect(calls.includes(part.callId) || adopted.has(part.callId), `${part.callId} started and is forgotten`)
    }
  }
  if (end?.type === "run-finish") {
    const reported = end.report.calls.map(({ callId }) => callId).sort().join()
    expect(reported === [...made].sort().join(), `the report has ${reported} of ${[...made].sort().join()}`)
  }
  expect(starts.length === atEnd.starts, "something started after the end")
  expect(live.running === 0, `${live.running} handlers never ended`)
  return faults
}

const seeds = process.env["LAW_SEED"] === undefined
  ? Array.from({ length: 600 }, (_, n) => n + 1)
  : [Number(process.env["LAW_SEED"])]

describe("turns that are asked again", () => {
  it.effect(`keep their laws over ${seeds.length} random stories`, () =>
    Effect.gen(function*() {
      const seen = { adopted: 0, failed: 0, finished: 0, retried: 0 }
      for (const seed of seeds) {
        const told = story(seed)
        const observed = yield* observe(seed, told)
        const faults = faultsOf(told, observed)
        assert.deepStrictEqual(faults, [], `seed ${seed}: LAW_SEED=${seed}`)
        seen.adopted += observed.parts.filter(({ type }) => type === "tool-adopted").length
        seen.retried += observed.parts.filter(({ type }) => type === "step-retry").length
        if (observed.error === undefined) seen.finished++
        else seen.failed++
      }
      // Both ends, retries and adoptions occur, or the laws above said nothing.
      if (seeds.length > 1) {
        assert.isAbove(seen.adopted, 100)
        assert.isAbove(seen.retried, 100)
        assert.isAbove(seen.finished, 50)
        assert.isAbove(seen.failed, 50)
      }
    }), 120_000)
})
