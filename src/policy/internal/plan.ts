/**
 * A request, checked once: what it costs, how long it may wait, and its lane. A request that makes no sense is rejected with
 * the value's name; it never waits.
 */
import * as Duration from "effect/Duration"
import type { LaneQueue, Plan } from "./lane.ts"
import type { Lanes } from "./lanes.ts"
import * as Rejections from "./rejections.ts"
import type { Rejected, Request } from "./request.ts"
import { capacityOf } from "./ruleState.ts"

export interface Defaults {
  readonly maxWaitMillis: number
  readonly fails: boolean
}

/** Milliseconds of a duration that may be 0 or infinite; NaN for nonsense. */
export const millisOf = (input: Duration.Input): number => {
  if (Number.isNaN(input)) return Number.NaN
  const duration = Duration.fromInput(input)
  return duration._tag === "Some" ? Duration.toMillis(duration.value) : Number.NaN
}

export const makePlan = (request: Request, lanes: Lanes, defaults: Defaults): Plan => {
  const { calls = 1, priority = 0, slack = 0, speculative, tokens } = request
  const maxWaitMillis = request.maxWait === undefined ? defaults.maxWaitMillis : millisOf(request.maxWait)
  const deadlineMillis = request.deadline === undefined ? Number.POSITIVE_INFINITY : millisOf(request.deadline)
  const plan: Plan = {
    request,
    calls,
    tokens: tokens ?? 0,
    priority: speculative === true ? leastOf(slack) : priority,
    maxWaitMillis,
    deadlineMillis,
    once: defaults.fails || speculative === true,
    slack,
    readsTenant: lanes.hasTenants && request.tenant === undefined,
    invalid: checked(calls, tokens, priority) ?? checkedSlack(slack, speculative) ??
      checkedWaits(request, maxWaitMillis, deadlineMillis),
    version: -1,
    tenant: undefined,
    lane: undefined as unknown as LaneQueue,
    overCapacity: undefined
  }
  if (!plan.readsTenant) place(plan, lanes, request.tenant)
  return plan
}

// Who may leave nothing free goes before who must.
const leastOf = (slack: number): number => slack > 0 ? Number.NEGATIVE_INFINITY : -Number.MAX_VALUE

/** Finds the plan's lane under the rules of now. */
export const place = (plan: Plan, lanes: Lanes, tenant: string | undefined): LaneQueue => {
  const { service } = plan.request
  plan.lane = lanes.resolve(service, tenant, plan.tokens > 0)
  plan.overCapacity = overCapacity(plan, plan.lane)
  plan.version = lanes.version
  plan.tenant = tenant
  return plan.lane
}

/** The limit of the lane that never holds as much as the plan costs, as a rejection. */
export const overCapacity = (plan: Plan, lane: LaneQueue): Rejected | undefined => {
  for (const { limit } of lane.limits) {
    const cost = limit.rule.unit === "calls" ? plan.calls : plan.tokens
    const most = capacityOf(limit.rule)
    if (cost > most) return Rejections.overCapacity(limit, cost, most)
  }
  return undefined
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 1

const checked = (calls: unknown, tokens: unknown, priority: unknown): Rejected | undefined => {
  if (!isCount(calls)) return Rejections.invalid("calls", calls, "an integer of at least 1")
  if (tokens !== undefined && !isCount(tokens)) {
    return Rejections.invalid("tokens", tokens, "an integer of at least 1, or absent")
  }
  return Number.isFinite(priority) ? undefined : Rejections.invalid("priority", priority, "a finite number")
}

const checkedSlack = (slack: number, speculative: boolean | undefined): Rejected | undefined => {
  if (!(slack >= 0 && slack <= 1)) return Rejections.invalid("slack", slack, "a number from 0 to 1")
  return slack === 0 || speculative === true
    ? undefined
    : Rejections.invalid("slack", slack, "absent: the request is not speculative")
}

const checkedWaits = (request: Request, maxWait: number, deadline: number): Rejected | undefined => {
  if (!(maxWait >= 0)) return Rejections.invalid("maxWait", request.maxWait, "a duration of at least 0")
  return deadline >= 0 ? undefined : Rejections.invalid("deadline", request.deadline, "a duration of at least 0")
}
