/**
 * `explain`: requests become wishes, the store is peeked at once, and the rest is arithmetic. Who waits in this process already
 * stands ahead.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Desk } from "./desk.ts"
import { forecast, limitsOf, type Wish } from "./forecast.ts"
import type { LaneQueue } from "./lane.ts"
import { type Defaults, makePlan, millisOf } from "./plan.ts"
import * as Rejections from "./rejections.ts"
import { Rejected, type Request, Tenant } from "./request.ts"
import type { Limit, LimitState } from "./store.ts"

type Timed = Request & { readonly takes?: Duration.Input | undefined }

interface Line {
  readonly request: Request
  readonly startMillis: number
  readonly waitsFor: string | undefined
}

type Peek = (
  limits: ReadonlyArray<Limit>
) => Effect.Effect<ReadonlyArray<LimitState>, { readonly message: string }>

export const explainOver =
  (desk: Desk, peek: Peek, defaults: Defaults) =>
  (requests: ReadonlyArray<Timed>): Effect.Effect<ReadonlyArray<Line>, Rejected> =>
    Effect.gen(function*() {
      const tenant = yield* Tenant
      const wishes = yield* Effect.forEach(requests, (request) => wishFor(desk, request, tenant, defaults))
      const all = [...waiting(desk), ...wishes]
      const states = yield* Effect.mapError(peek(limitsOf(all)), unavailable)
      const starts = forecast(all, states).slice(all.length - wishes.length)
      return requests.map((request, index) => ({ request, ...starts[index]! }))
    })

const wishFor = Effect.fnUntraced(function*(
  desk: Desk,
  request: Timed,
  reference: string | undefined,
  defaults: Defaults
): Effect.fn.Return<Wish, Rejected> {
  const takesMillis = request.takes === undefined ? 0 : millisOf(request.takes)
  if (!(takesMillis >= 0)) {
    return yield* Rejections.invalid("takes", request.takes, "a duration of at least 0")
  }
  const plan = makePlan(request, desk.lanes, defaults)
  if (plan.invalid !== undefined) return yield* plan.invalid
  const tenant = request.tenant ?? reference
  const lane = desk.laneOf(plan, plan.readsTenant ? reference : undefined)
  if (plan.overCapacity !== undefined) return yield* plan.overCapacity
  return wish(lane, plan.calls, plan.tokens, plan.priority, tenant, request.run, takesMillis)
})

const wish = (
  { lane }: LaneQueue,
  calls: number,
  tokens: number,
  priority: number,
  tenant: unknown,
  flowKey: unknown,
  takesMillis: number
): Wish => ({ lane, calls, tokens, priority, tenant, flowKey, takesMillis })

const waiting = (desk: Desk): ReadonlyArray<Wish> =>
  [...desk.lanes.all()]
    .flatMap((lane) => [...lane.turns.all()])
    .sort((a, b) => a.since - b.since)
    .map((one) => wish(one.lane, one.calls, one.tokens, one.priority, one.tenant, one.flowKey, 0))

const unavailable = (cause: { readonly message: string }): Rejected =>
  new Rejected({ reason: "StoreUnavailable", limit: "", message: cause.message, cause })
