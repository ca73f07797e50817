/**
 * `withAdmission` as effects. Where a store answers at once and nothing is to be given back, an admission is one step: the
 * limits are taken and the effect goes on in the same fiber.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { Desk } from "./desk.ts"
import { Waiter } from "./lane.ts"
import type { LaneQueue, Plan, Use } from "./lane.ts"
import { makePlan } from "./plan.ts"
import type { Defaults } from "./plan.ts"
import { Tenant } from "./request.ts"
import type { Request } from "./request.ts"
import type { Synchronous } from "./store.ts"
import type { SynchronousDesk } from "./synchronousDesk.ts"

type Admitted = Effect.Effect<unknown, unknown, unknown>
type AnyFiber = Fiber.Fiber<unknown, unknown>

/** `withAdmission` over a store that is asked. */
export const overDesk = (desk: Desk, defaults: Defaults) => (request: Request): (use: Use) => Admitted => {
  const plan = makePlan(request, desk.lanes, defaults)
  if (plan.invalid !== undefined) return () => Effect.fail(plan.invalid)
  return (use) => Effect.withFiber((fiber) => guarded(desk, plan, laneFor(desk, plan, fiber), use, fiber))
}

/** `withAdmission` over a store that answers at once. */
export const overSynchronousDesk =
  (desk: SynchronousDesk, store: Synchronous, defaults: Defaults) => (request: Request): (use: Use) => Admitted => {
    const plan = makePlan(request, desk.lanes, defaults)
    if (plan.invalid !== undefined) return () => Effect.fail(plan.invalid)
    const isGated = request.gate !== undefined
    return (use) => {
      const isPlain = Effect.isEffect(use)
      const admitted: Admitted = Effect.withFiber((fiber) => {
        const lane = plan.version === desk.lanes.version && !plan.readsTenant ? plan.lane : laneFor(desk, plan, fiber)
        if (isGated || !isPlain || lane.hasPermits || plan.overCapacity !== undefined || desk.closed) {
          return guarded(desk, plan, lane, use, fiber)
        }
        if (mayYield(fiber)) return Effect.andThen(Effect.yieldNow, admitted)
        if (!desk.isFree(lane)) return guarded(desk, plan, lane, use, fiber)
        const waitMillis = store.takeUnsafe(lane.lane, plan.calls, plan.tokens, plan.slack)
        return waitMillis === 0 ? use : refused(desk, plan, lane, use, fiber, waitMillis)
      })
      return admitted
    }
  }

// The fiber's tenant matters where tenants have limits, and for whose turn it is.
const laneFor = (desk: Desk, plan: Plan, fiber: AnyFiber): LaneQueue =>
  desk.laneOf(plan, plan.readsTenant ? fiber.getRef(Tenant) : undefined)

const waiterFor = (plan: Plan, lane: LaneQueue, use: Use, fiber: AnyFiber): Waiter =>
  new Waiter(plan, lane, plan.request.tenant ?? fiber.getRef(Tenant), use)

// What is taken inside is given back on the way out, whatever becomes of the fiber in between.
const guarded = (desk: Desk, plan: Plan, lane: LaneQueue, use: Use, fiber: AnyFiber): Admitted => {
  if (plan.overCapacity !== undefined) return Effect.fail(plan.overCapacity)
  const waiter = waiterFor(plan, lane, use, fiber)
  const attempt: Admitted = Effect.withFiber((fiber) =>
    mayYield(fiber) ? Effect.andThen(Effect.yieldNow, attempt) : desk.attempt(waiter)
  )
  return whole(desk, waiter, attempt)
}

const refused = (
  desk: SynchronousDesk,
  plan: Plan,
  lane: LaneQueue,
  use: Use,
  fiber: AnyFiber,
  waitMillis: number
): Admitted => {
  if (plan.once) return Effect.fail(desk.exceeded(lane, waitMillis))
  const waiter = waiterFor(plan, lane, use, fiber)
  return whole(desk, waiter, desk.line(waiter))
}

const whole = (desk: Desk, waiter: Waiter, attempt: Admitted): Admitted =>
  Effect.onExitPrimitive(attempt, (exit) => {
    desk.ended(waiter, exit)
    return undefined
  })

// The next steps of a fiber near the end of its budget would come a scheduler's turn after the grant.
const mayYield = (fiber: AnyFiber): boolean => {
  const budget = fiber.cache.maxOpsBeforeYield
  return fiber.currentOpCount + 8 >= budget && budget > 32 && !fiber.cache.preventYield
}
