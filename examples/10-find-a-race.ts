/**
 * Find a race between two parallel tool calls, and prove that it is gone.
 *
 * Two tools spend from one budget. Each is right alone: it looks what is left, asks for the price, and writes down the rest. Called
 * by one decision they run at the same time, and one forgets what the other has spent. Nobody sees it in a test that runs once.
 * `explore` runs the program in up to 200 orders, finds one that fails, prints the seed that replays it, and the few switches
 * that matter. With the reading and the writing in one step, all 200 pass.
 *
 * Run: npx node examples/10-find-a-race.ts
 * No key, no network; in virtual time. In a program of your own write "effect-toolformer" for "../src/index.ts", and
 * "effect-toolformer/Testing" for "../src/testing/index.ts".
 *
 * Expected output:
 *   Seed 5 fails, after 6 schedules. Replay: Testing.explore(program, { seeds: [5] })
 *
 *   Error: 100 - 60 - 30 is 10, not 40
 *
 *   The fewest switches found that still make it fail (#1 is the program, the others in order of birth):
 *     #4 stops before its operation 3, #5 goes on
 *     #6 (Budget.spend) stops before its operation 11, #7 goes on
 *
 *   replayed: true
 *   repaired: 200 schedules pass
 */
import { Context, Effect, Layer, Ref, Schema } from "effect"
import { Orchestrator, ToolPolicy } from "../src/index.ts"
import { explore, TestModel, ToolCall } from "../src/testing/index.ts"

// ---- a budget, and what it is spent on

class Budget extends Context.Service<Budget, {
  readonly left: Effect.Effect<number>
  readonly spend: (price: Effect.Effect<number>) => Effect.Effect<number>
}>()("example/Budget") {}

const forgetful = Layer.effect(
  Budget,
  Effect.gen(function*() {
    const left = yield* Ref.make(100)
    return {
      left: Ref.get(left),
      spend: Effect.fn("Budget.spend")(function*(price: Effect.Effect<number>) {
        const before = yield* Ref.get(left)
        const rest = before - (yield* price)
        yield* Ref.set(left, rest)
        return rest
      })
    }
  })
)

const exact = Layer.effect(
  Budget,
  Effect.gen(function*() {
    const left = yield* Ref.make(100)
    return {
      left: Ref.get(left),
      spend: Effect.fn("Budget.spend")(function*(price: Effect.Effect<number>) {
        const cost = yield* price
        return yield* Ref.updateAndGet(left, (before) => before - cost)
      })
    }
  })
)

// ---- two tools, each right alone

const buying = (price: number) =>
  ToolPolicy.tool({
    parameters: Schema.Struct({}),
    success: Schema.Finite,
    handler: () => Effect.flatMap(Budget, ({ spend }) => spend(Effect.succeed(price)))
  })

const { layer, toolkit } = ToolPolicy.define({ book_flight: buying(60), book_hotel: buying(30) })

// ---- one decision that calls both, and what must hold afterwards

const trip = Effect.gen(function*() {
  yield* Orchestrator.run({ prompt: "Book my trip.", toolkit })
  const { left } = yield* Budget
  const rest = yield* left
  if (rest !== 10) return yield* Effect.fail(`100 - 60 - 30 is 10, not ${rest}`)
})

// Every run has a model, handlers and a budget of its own: they are provided inside of what is explored.
const script = TestModel.script([[ToolCall("book_flight"), ToolCall("book_hotel")], "Booked."])

const withBudget = (budget: Layer.Layer<Budget>) =>
  trip.pipe(Effect.provide(Layer.provideMerge(Layer.merge(layer, script), budget)))

const program = Effect.gen(function*() {
  const error = yield* Effect.flip(explore(withBudget(forgetful)))
  console.log(error.message)
  const again = yield* Effect.flip(explore(withBudget(forgetful), { seeds: [error.seed] }))
  console.log(
    `\nreplayed: ${again.message === error.message.replace(/after \d+ schedules/, "the first schedule tried")}`
  )
  const { schedules } = yield* explore(withBudget(exact))
  console.log(`repaired: ${schedules} schedules pass`)
})

await Effect.runPromise(program)
