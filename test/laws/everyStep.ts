/**
 * The run of 20 calls stopped at every step, and what must hold then: laws 1, 3, 5 and 6, and for a call that nobody stopped the
 * outcome it has in peace (law 2). A failing case is named by its pace, kind and step.
 */
import { assert } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import type { AnyPart } from "../../src/domain/ToolEvent.ts"
import { Orchestrator } from "../../src/index.ts"
import { random } from "../random.ts"
import { byName, ids, idsAgain, isInGroup, toolOf, World } from "./twentyCalls.ts"
import type { Pace } from "./twentyCalls.ts"

const kinds = ["interrupt", "cancelRun", "cancelCall", "cancelGroup", "drain"] as const
type Kind = typeof kinds[number]

/** What promises are told. */
const reasons: Readonly<Record<Kind, string>> = {
  interrupt: "CallerGone",
  cancelRun: "Timeout",
  cancelCall: "BranchCancelled",
  cancelGroup: "BranchCancelled",
  drain: "Shutdown"
}

interface Case {
  readonly pace: Pace
  readonly kind: Kind
  /** Before which step, or within which event (a handler has begun or ended). */
  readonly at: { readonly step: number } | { readonly event: number }
  readonly seed: number
}

interface Seen {
  readonly world: World
  /** How many handlers had started when it was disturbed; NaN where it was over before. */
  readonly startsBefore: number
  readonly partsBefore: number
  /** The calls the engine had started, while their handlers' first step was still to come. */
  readonly begun: ReadonlyArray<string>
  /** The time of the clock then. */
  readonly at: number
  /** How many calls were told to stop, where it was not the whole run. */
  readonly told: number
}

let runs = 0

const observe = async ({ at, kind, pace, seed }: Case): Promise<Seen> => {
  const { pick } = random(seed)
  const callId = pick(pace.breaks === true ? [...ids, ...idsAgain] : ids)
  const group = pick(["slow", "hedged"])
  const world = new World(pace, `every_${++runs}`)
  const seen = {
    startsBefore: Number.NaN,
    partsBefore: Number.NaN,
    at: Number.NaN,
    told: 0,
    begun: [] as ReadonlyArray<string>
  }
  const disturb = () => {
    if (world.exit !== undefined || !Number.isNaN(seen.startsBefore)) return
    // What has no name yet, or no more, cannot be cancelled.
    if (kind !== "interrupt" && !world.isLive) return
    seen.at = world.now
    seen.begun = world.begun()
    seen.startsBefore = world.watch.starts.length
    seen.partsBefore = world.parts.length
    if (kind === "interrupt") world.interrupt()
    else if (kind === "cancelRun") world.cancelRun()
    else if (kind === "drain") world.drain()
    else seen.told = world.cancel(kind === "cancelCall" ? { callId } : { group })
  }
  if ("step" in at) {
    await world.upTo(at.step)
    disturb()
  } else {
    world.watch.onEvent = () => {
      if (world.watch.events === at.event) disturb()
    }
  }
  await world.finish()
  return { world, ...seen }
}

const idsOf = (parts: ReadonlyArray<AnyPart>, type: "tool-call" | "tool-result") =>
  parts.flatMap((part) => part.type === type ? [part.id] : [])

/** The calls that were told to stop by name: by us, not by their group or a newer answer. */
const cancelledOf = ({ parts }: World) =>
  parts.flatMap((part) =>
    part.type === "tool-cancelled" && part.reason._tag === "BranchCancelled" && part.reason.note === byName
      ? [part.callId]
      : []
  )

const outcomesOf = (parts: ReadonlyArray<AnyPart>) =>
  new Map(parts.flatMap((part) => part.type === "tool-result" ? [[part.id, JSON.stringify(part.result)]] : []))

const historyOf = ({ exit, parts }: World) => {
  if (exit !== undefined && Exit.isSuccess(exit)) {
    return parts.flatMap((part) => part.type === "run-finish" ? [part.prompt] : [])[0]
  }
  const error = exit === undefined ? undefined : Cause.squash(exit.cause)
  return error instanceof Orchestrator.OrchestratorError ? error.prompt : undefined
}

/** Law 1, while the stream is read: every call sealed has one result, there and in the history in call order. */
const everyCallIsAnswered = (world: World) => {
  const calls = idsOf(world.parts, "tool-call")
  const results = idsOf(world.parts, "tool-result")
  assert.deepStrictEqual([...results].sort(), [...calls].sort(), "every call has one result")
  if (calls.length === 0) return
  const inHistory = (role: "assistant" | "tool", type: "tool-call" | "tool-result") =>
    (historyOf(world)?.content ?? []).flatMap((message) =>
      message.role === role
        ? (message.content as ReadonlyArray<{ readonly type: string; readonly id: string }>).flatMap((part) =>
          part.type === type ? [part.id] : []
        )
        : []
    )
  const kept = inHistory("assistant", "tool-call")
  assert.deepStrictEqual(inHistory("tool", "tool-result"), kept, "the history has the results in call order")
  if (world.pace.breaks !== true) return assert.deepStrictEqual(kept, calls, "the history has every call")
  for (const id of calls) {
    const isKept = kept.includes(id)
    const started = world.parts.some((part) => part.type === "tool-started" && part.callId === id)
    const isAdopted = world.parts.some((part) => part.type === "tool-adopted" && part.from === id)
    if (started && !isAdopted) assert.isTrue(isKept, `${id} has started and is not in the history`)
    if (isAdopted) assert.isFalse(isKept, `${id} was adopted and stands twice in the history`)
  }
}

/** Law 3. */
const nothingIsLeft = (world: World) => {
  assert.strictEqual(world.runningAtExit, 0, "handlers at work at the end of the run")
  for (const [what, held] of Object.entries(world.held())) assert.strictEqual(held, 0, what)
  assert.deepStrictEqual(world.takeAll(), [], "permits that cannot be had")
  assert.strictEqual(world.watch.overlaps, 0, "writers of one file overlap")
}

/** Every guess that started came to one thing. */
const everyGuessIsSettled = ({ parts }: World) => {
  for (const part of parts) {
    if (part.type !== "run-finish") continue
    for (const { failed, hit, lateHit, miss, preempted, started } of part.report.speculation?.entries ?? []) {
      assert.strictEqual(started, hit + lateHit + miss + failed + preempted, "guesses that came to nothing")
    }
  }
}

/** Law 5, and 6. */
const nothingStartsAfterwards = ({ at, begun, startsBefore, world }: Seen, { kind, pace }: Case) => {
  const { starts, startsBeforeInterrupt } = world.watch
  const after = starts.slice(startsBefore)
  const own = after.filter(({ id }) => !id.includes("/")).map(({ callId }) => callId)
  if (kind === "cancelRun") assert.deepStrictEqual(after, [], "started after the cancel")
  if (kind === "drain") {
    const late = own.filter((id) => !begun.includes(id!))
    assert.deepStrictEqual(late, [], "started although the process goes down")
  }
  if (kind === "interrupt") {
    // The run learns of it when its own fiber is told, some steps later: in no time at all, where time waits for work.
    const late = starts.slice(startsBefore).filter((start) => pace.seed === 0 && start.at > at)
    assert.deepStrictEqual(late, [], "started some time after the reader had gone")
    const afterwards = Number.isNaN(startsBeforeInterrupt) ? [] : starts.slice(startsBeforeInterrupt)
    assert.deepStrictEqual(afterwards, [], "started after the first handler had been interrupted")
  }
  for (const id of cancelledOf(world).filter((id) => !begun.includes(id))) {
    assert.notInclude(own, id, "started after its cancel")
  }
  for (const id of ids) {
    const starts = world.watch.startsOf(id)
    const again = pace.breaks === true ? 2 : 1
    // Foreseen in both turns.
    const guesses = pace.speculates === true ? 2 : 0
    const most = { flaky: 3 * again, hedged: 2 * again, both: 6 * again, success: again }[toolOf(id)] ?? 1
    assert.isAtMost(starts, most + guesses, `${id} (${toolOf(id)}) started ${starts} times`)
  }
  const over = new Set<string>()
  for (const [i, part] of world.parts.entries()) {
    if (part.type === "tool-cancelled") over.add(part.callId)
    if (part.type === "tool-result") over.add(part.id)
    if (part.type === "tool-started" || part.type === "tool-retry") {
      assert.isFalse(over.has(part.callId), `${part.type} of ${part.callId} after its cancel or answer`)
    }
    if (part.type === "run-finish") assert.strictEqual(i, world.parts.length - 1, "run-finish is last")
  }
  for (const reason of world.watch.aborted) {
    assert.strictEqual(reason, reasons[kind])
  }
}

/** Of a group of an answer that counts at most one call succeeds; exactly one where nobody cancelled any. */
const oneWins = (world: World, tool: string) => {
  const results = world.parts.flatMap((part) =>
    part.type === "tool-result" && part.name === tool && (world.pace.breaks !== true || part.id.startsWith("d"))
      ? [part]
      : []
  )
  const won = results.filter(({ isFailure }) => !isFailure).map(({ id }) => id)
  assert.isAtMost(won.length, 1, `${tool}: ${won.join()} won`)
}

const judge = (seen: Seen, one: Case, peace: ReadonlyMap<string, string>) => {
  const { told, world } = seen
  const { kind } = one
  assert.isDefined(world.exit, "the run did not end")
  nothingIsLeft(world)
  everyGuessIsSettled(world)
  nothingStartsAfterwards(seen, one)
  if (kind === "interrupt") {
    assert.isAtMost(world.parts.length, seen.partsBefore, "parts after the reader had gone")
    return
  }
  everyCallIsAnswered(world)
  if (kind === "cancelRun" || kind === "drain") return
  assert.isTrue(Exit.isSuccess(world.exit), "the run goes on without the calls that were cancelled")
  const cancelled = cancelledOf(world)
  const followers = world.parts.flatMap((part) =>
    part.type === "tool-adopted" && cancelled.includes(part.from) ? [part.callId] : []
  )
  for (const tool of ["raced", "scored"]) oneWins(world, tool)
  // To stop a call that has joined an earlier one is to stop that.
  if (world.pace.breaks === true) assert.isAtLeast(cancelled.length, told)
  else assert.strictEqual(cancelled.length, told, "as many are cancelled as were told to")
  for (const [id, outcome] of outcomesOf(world.parts)) {
    if (cancelled.includes(id)) assert.include(outcome, "\"_tag\":\"Cancelled\"", `outcome of ${id}`)
    // Whether a call of the answer that broke off had started by then is a matter of time.
    else if (!followers.includes(id) && !isInGroup(id) && (world.pace.breaks !== true || idsAgain.includes(id))) {
      assert.strictEqual(outcome, peace.get(id), `outcome of ${id}, which nobody cancelled`)
    }
  }
}

/** Runs in peace first; then one run for each case, judged. */
export const everywhere = async (pace: Pace, where: "step" | "event", sample: number): Promise<number> => {
  const undisturbed = new World(pace, `peace_${++runs}`)
  await undisturbed.finish()
  assert.isTrue(undisturbed.exit !== undefined && Exit.isSuccess(undisturbed.exit), String(undisturbed.exit))
  everyCallIsAnswered(undisturbed)
  everyGuessIsSettled(undisturbed)
  nothingIsLeft(undisturbed)
  const peace = outcomesOf(undisturbed.parts)
  assert.strictEqual(peace.size, pace.breaks === true ? 14 + ids.length : ids.length)
  const count = (wanted: (part: AnyPart) => boolean) => undisturbed.parts.filter(wanted).length
  if (pace.speculates === true) {
    for (const type of ["tool-speculated", "tool-claimed", "tool-discarded"]) {
      assert.isAtLeast(count((part) => part.type === type), 3, type)
    }
    const plain = new World({ ...pace, speculates: undefined as never }, `plain_${++runs}`)
    await plain.finish()
    for (const [id, outcome] of outcomesOf(plain.parts)) {
      if (!isInGroup(id)) assert.strictEqual(peace.get(id), outcome, `outcome of ${id} without guesses`)
    }
  } else assert.isAtLeast(count((part) => part.type === "tool-retry"), 4, "retries")
  // Where time is lost, so is the room for a hedge.
  if (pace.seed === 0 && pace.speculates !== true) {
    assert.isAtLeast(count((part) => part.type === "tool-started" && part.hedge === true), 1, "hedges")
  }
  assert.isAtLeast(count((part) => part.type === "tool-adopted"), pace.breaks === true ? 5 : 0, "adopted calls")
  assert.isAtLeast(count((part) => part.type === "tool-result" && !part.isFailure), ids.length - 4, "successes")
  const last = where === "step" ? undisturbed.taken : undisturbed.watch.events
  const { chance } = random(pace.seed + 1)
  let disturbed = 0
  for (const [k, kind] of kinds.entries()) {
    for (let at = where === "step" ? 0 : 1; at <= last; at++) {
      if (!chance(sample)) continue
      const one: Case = {
        pace,
        kind,
        at: where === "step" ? { step: at } : { event: at },
        seed: at * kinds.length + k
      }
      const seen = await observe(one)
      try {
        if (!Number.isNaN(seen.startsBefore)) {
          disturbed++
          judge(seen, one, peace)
        }
      } catch (error) {
        throw new Error(`${JSON.stringify({ ...one, of: last })}: ${(error as Error).message}`, { cause: error })
      }
    }
  }
  return disturbed
}
