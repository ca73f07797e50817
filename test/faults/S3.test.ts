/** A tool that writes is never started on a guess, whoever is sure of it. */
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { Predictor, Speculation, ToolPolicy } from "../../src/index.ts"
import type { ToolPolicy as Policies } from "../../src/index.ts"
import { TestModel, TestTools } from "../../src/testing/index.ts"
import { turnsOf } from "../bench/traces/conversation.ts"
import { castOf, play } from "../bench/traces/replay.ts"
import { ruleOf } from "../bench/traces/sets.ts"
import { constant } from "../bench/traces/times.ts"
import { load } from "../bench/traces/Trace.ts"
import { describeData } from "../data.ts"
import { guess, ledgerOf, made, played } from "./guessing.ts"

const writes = /^(book|update|cancel|send|transfer)_/

describeData("traces", "S3 tools that write, in recorded dialogues", (folder) => {
  it.effect("none is started, though each is foreseen with certainty before it is made", () =>
    Effect.gen(function*() {
      const [set] = yield* load(folder, "tau-airline")
      const conversations = set!.conversations
      const { isRead } = ruleOf("tau-airline")
      const cast = castOf(conversations, isRead)
      let foreseen = 0
      let starts = 0
      let writing = 0
      for (const conversation of conversations) {
        const calls = turnsOf(conversation).flatMap((turn) => turn.calls)
        // In every turn: each write of the whole dialogue, then each read.
        const guesses = calls.toSorted((a, b) => Number(isRead(a.name)) - Number(isRead(b.name)))
          .map(({ name, params }) => guess(name, params, 1))
        foreseen += guesses.filter(({ tool }) => writes.test(tool)).length
        const oracle = Predictor.make({ predict: () => Stream.fromIterable(guesses) })
        const playing = yield* play(cast, conversation, constant).pipe(
          Effect.provide(Layer.merge(Speculation.layer({ maxConcurrent: 1000, budget: { calls: 100_000 } }), oracle)),
          Effect.forkChild({ startImmediately: true })
        )
        yield* TestClock.adjust("1 hour")
        const { strayWrites, turns } = yield* Fiber.join(playing)
        assert.strictEqual(strayWrites, 0, conversation.id)
        const started = turns.flatMap((turn) => turn.starts)
        starts += started.length
        for (const { key } of started) if (writes.test(key)) writing++
      }
      assert.isAbove(foreseen, 0)
      assert.isAbove(starts, 0, "reads are started")
      assert.strictEqual(writing, 0)
    }), 60_000)
})

describe("S3 tool that writes", () => {
  const annotated: ReadonlyArray<readonly [what: string, annotations: Policies.Annotations<{}>, starts: boolean]> = [
    ["says nothing", {}, false],
    ["is idempotent", { idempotent: true }, false],
    ["is not destructive", { destructive: false }, false],
    ["reads", { readonly: true }, true],
    ["reads, and says that it is not to be guessed", { readonly: true, speculate: false }, false],
    ["reads, and waits for the end of the turn", { readonly: true, eager: "after-finish" }, false],
    ["says that it may be", { speculate: true }, true]
  ]
  for (const [what, annotations, starts] of annotated) {
    it.effect(`one that ${what} is ${starts ? "" : "not "}started on a guess`, () =>
      Effect.gen(function*() {
        const run = yield* played({
          kit: (tools) =>
            ToolPolicy.define({
              act: ToolPolicy.tool({
                success: Schema.String,
                annotations,
                handler: tools.handler("act", TestTools.succeed("done", { after: "1 minute" }))
              })
            }),
          turns: [[TestModel.wait("1 second"), made("act", {}, "act")]],
          guesses: ({ speculable, step }) => {
            assert.strictEqual(speculable.has("act"), starts)
            return step === 1 ? [guess("act", {}, 1)] : []
          }
        })
        assert.strictEqual(run.guessed.length, starts ? 1 : 0)
        assert.strictEqual(run.calls.length, 1)
        assert.strictEqual(ledgerOf(run).started, starts ? 1 : 0)
      }))
  }

  it.effect("one that needs an approval is not started, and still asks for it", () =>
    Effect.gen(function*() {
      const run = yield* played({
        kit: (tools) =>
          ToolPolicy.define({
            act: ToolPolicy.tool({
              success: Schema.String,
              needsApproval: true,
              annotations: { readonly: true },
              handler: tools.handler("act", TestTools.succeed("done"))
            })
          }),
        turns: [[TestModel.wait("1 second"), made("act", {}, "act")]],
        guesses: () => [guess("act", {}, 1)]
      })
      assert.strictEqual(run.calls.length, 0)
      assert.strictEqual(run.finish.pendingApprovals.length, 1)
    }))

  it("no annotation of Effect's own makes a tool guessable but Readonly", () => {
    const tool = Tool.make("act").annotate(Tool.Idempotent, true).annotate(Tool.Destructive, false)
      .annotate(Tool.OpenWorld, false)
    assert.isFalse(ToolPolicy.read(tool).speculate)
  })
})
