/**
 * One run under a schedule: an Effect scheduler that performs one task at a time, and knows which fiber stands where.
 *
 * Whoever wakes up, by whatever way, is set aside before its first operation while somebody else could go on: so every going on is a
 * choice of the schedule, and so is every stop before an operation. Synchronous: who drives it lets promises in between two steps.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Scheduler from "effect/Scheduler"
import type { Decision, Place, Ready, Schedule, Strand } from "./schedule.ts"
import { effectRandom } from "./seededRandom.ts"
import { SteppedClock } from "./steppedClock.ts"
import { SelfMoving } from "./virtualTime.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

interface Task extends Ready {
  readonly run: () => void
  readonly lane: object
  readonly priority: number
  /** A fiber has taken its key. */
  isClaimed: boolean
}

/** A decision, and who it was about, to be told to people. */
export interface Told {
  readonly decision: Decision
  /** The fiber that went last, and where it stands. */
  readonly from: string
  /** Who goes on. */
  to: string
}

export interface StrandsOptions {
  readonly maxSteps: number
  readonly tells?: boolean | undefined
  /** The clock of those who want the live one. */
  readonly outer?: Clock.Clock | undefined
}

/** After so many operations of a fiber that is alone, others of the process have a turn. */
const alone = 4096

export class Strands {
  readonly time: SteppedClock
  /** Operations of all fibers. */
  operations = 0
  /** A run is stopped before this operation. */
  limit: number
  /** The fibers that have begun and not ended, but for those whose operations are never interrupted by a scheduler. */
  readonly fibers = new Map<AnyFiber, Strand>()
  /** What was decided otherwise than in the plain order, where it is written down. */
  readonly told: Array<Told> | undefined
  /** Tells interleavings apart: who went on after whom, and where. */
  fingerprint = 0
  /** Called with the fibers that begin after the end, but were waiting to begin then. */
  private onLate: ((fiber: AnyFiber) => void) | undefined
  private late = new Set<Task>()
  private readonly schedule: Schedule
  private ready: Array<Task> = []
  private withPriority = 0
  private born = 0
  private current: Strand | undefined
  private currentFiber: AnyFiber | undefined
  private turn = 0
  /** The first fiber of this turn. */
  private first: Strand | undefined
  private task: Task | undefined
  private unnamed: Told | undefined
  private yielding: Strand | undefined
  private isForced = false
  /** Before any fiber has gone on. */
  decisions = 0
  private isDead = false

  constructor(schedule: Schedule, options: StrandsOptions) {
    this.schedule = schedule
    this.limit = options.maxSteps
    this.told = options.tells === true ? [] : undefined
    this.time = new SteppedClock(options.outer)
  }

  /** What a program needs to run under this schedule. */
  context(seed: number): Context.Context<never> {
    return Context.empty().pipe(
      Context.add(Clock.Clock, this.time.clock),
      Context.add(SelfMoving, true),
      Context.add(Random.Random, effectRandom(seed)),
      Context.add(Scheduler.Scheduler, this.scheduler()),
      Context.add(Scheduler.PreventSchedulerYield, false)
    )
  }

  get isSpent(): boolean {
    return this.operations >= this.limit
  }

  get isQuiet(): boolean {
    return this.ready.length === 0
  }

  /** Performs the next task. False when there is none; "promises" when these have their turn first. */
  take(): boolean | "promises" {
    if (this.ready.length === 0) return false
    if (this.schedule.letsPromisesIn(this.place)) {
      this.tell({ _tag: "Promises", at: this.place }, "promises")
      return "promises"
    }
    const millis = this.time.sleepers === 0 ? 0 : this.schedule.hurries(this.place)
    if (millis > 0) {
      this.tell({ _tag: "Pause", at: this.place, millis }, `${millis.toFixed(0)} ms`)
      this.wake(this.time.pass(millis))
    }
    this.perform(this.pick())
    return true
  }

  /** Time goes to the next sleepers. False when there is none. */
  sleepOn(): boolean {
    const due = this.time.takeInstant()
    this.wake(due)
    return due.length > 0
  }

  /** From now on every fiber is told to end that has begun, or was waiting to begin. */
  end(tell: (fiber: AnyFiber) => void): void {
    this.onLate = tell
    this.late = new Set(this.ready)
    this.forget()
    // Not those that finalizers fork meanwhile.
    for (const fiber of Array.from(this.fibers.keys())) tell(fiber)
  }

  /** Nothing is performed any more. */
  abandon(): void {
    this.isDead = true
    this.ready = []
  }

  /** The fibers that are alive, each with where it stands. */
  alive(): ReadonlyArray<string> {
    return [...this.fibers].map(([fiber, strand]) => describe(strand, fiber))
  }

  private get place(): Place {
    const { current } = this
    return {
      strand: current?.key ?? "",
      operation: current?.operations ?? 0,
      nth: (current ?? this).decisions
    }
  }

  /** What comes next was not scheduled by whoever went last. */
  private forget(): void {
    this.turn++
    this.first = undefined
    this.task = undefined
  }

  // Of what one fiber has scheduled, the lowest priority goes first, as in production.
  private eligible(): ReadonlyArray<Task> {
    if (this.withPriority === 0) return this.ready
    const lowest = new Map<object, number>()
    for (const { lane, priority } of this.ready) lowest.set(lane, Math.min(priority, lowest.get(lane) ?? Infinity))
    return this.ready.filter(({ lane, priority }) => lowest.get(lane) === priority)
  }

  private pick(): Task {
    const eligible = this.eligible()
    const place = eligible.length === 1 ? 0 : this.schedule.next(eligible, this.place)
    const task = eligible[place]!
    const isSwitch = task.strand === undefined || task.strand !== this.current
    if (isSwitch) this.mix(this.current?.number ?? 0, this.current?.operations ?? 0, place)
    if (eligible.length > 1) {
      this.tell({ _tag: "Switch", at: this.place, next: task.key, isForced: this.isForced }, task.key)
    }
    this.isForced = false
    return task
  }

  private perform(task: Task): void {
    // A callback that schedules itself again and again is no fiber, and has no operations.
    this.operations++
    this.remove(task)
    this.forget()
    if (task.strand !== undefined) {
      task.strand.turn = this.turn
      task.strand.under = undefined
      task.strand.resuming = afterStop
    }
    this.task = task
    task.run()
    this.forget()
  }

  private remove(task: Task): void {
    const at = this.ready.indexOf(task)
    if (at < 0) return
    this.ready.splice(at, 1)
    if (task.priority !== 0) this.withPriority--
  }

  private wake(due: ReadonlyArray<{ readonly wake: () => void }>): void {
    this.yielding = undefined
    for (const { wake } of due) this.add(wake, this, 0)
  }

  private add(run: () => void, lane: object, priority: number): void {
    if (this.isDead) return
    const strand = this.yielding
    this.yielding = undefined
    const { current } = this
    const key = strand?.key ?? (current === undefined ? "0" : `${current.key}.${++current.made}`)
    const rank = strand === undefined ? this.schedule.rank() : 0
    this.ready.push({ run, lane, priority, key, strand, rank, isClaimed: false })
    if (priority !== 0) this.withPriority++
  }

  private scheduler(): Scheduler.Scheduler {
    return {
      executionMode: "async",
      shouldYield: (fiber) => this.stops(fiber),
      makeDispatcher: () => {
        const lane = {}
        return {
          scheduleTask: (task, priority) => this.add(task, lane, priority),
          flush: () => {
            for (let own = this.ofLane(lane); own !== undefined; own = this.ofLane(lane)) this.perform(own)
          }
        }
      }
    }
  }

  private ofLane(lane: object): Task | undefined {
    return this.ready.find((task) => task.lane === lane)
  }

  // Called by the fiber before each of its operations.
  private stops(fiber: AnyFiber): boolean {
    const strand = fiber === this.currentFiber ? this.current! : this.fibers.get(fiber) ?? this.meet(fiber)
    this.currentFiber = fiber
    this.current = strand
    this.operations++
    this.first ??= strand
    const isResuming = strand.turn === this.turn && strand.resuming > 0
    if (isResuming) strand.resuming--
    else {
      strand.resuming = 0
      strand.operations++
      strand.decisions = 0
    }
    if (this.unnamed !== undefined) {
      this.unnamed.to = describe(strand, fiber)
      this.unnamed = undefined
    }
    const isStopped = this.operations >= this.limit || (!isResuming && this.isStopped(strand))
    if (isStopped) this.yielding = strand
    return isStopped
  }

  private isStopped(strand: Strand): boolean {
    const { ready } = this
    const { under } = strand
    if (ready.length === 0 && strand === this.first) {
      strand.turn = this.turn
      return strand.operations % alone === 0
    }
    if (strand.turn !== this.turn) {
      this.schedule.wakes(strand)
      return true
    }
    const isSetAside = this.schedule.setsAside(strand, under === undefined ? ready : [...ready, under])
    if (!isSetAside) return false
    // Who started it goes on at once, without being chosen.
    if (under === undefined) this.isForced = true
    else {this.tell(
        { _tag: "Switch", at: this.place, next: under.key, isForced: true },
        describe(under.strand, undefined)
      )}
    return true
  }

  private meet(fiber: AnyFiber): Strand {
    const { current, task } = this
    // Forked to start at once, it goes on in the place of who forked it.
    const isStarted = task === undefined || task.strand !== undefined || task.isClaimed
    const key = !isStarted ? task.key : current === undefined ? "0" : `${current.key}.${++current.made}`
    const strand: Strand = {
      key,
      number: ++this.born,
      rank: isStarted ? this.schedule.rank() : task.rank,
      turn: isStarted ? this.turn : 0,
      under: isStarted && current?.turn === this.turn ? { key: current.key, strand: current, rank: 0 } : undefined,
      operations: 0,
      resuming: 0,
      decisions: 0,
      made: 0
    }
    if (task !== undefined) task.isClaimed = true
    this.fibers.set(fiber, strand)
    fiber.addObserver(() => {
      this.fibers.delete(fiber)
      if (this.currentFiber === fiber) this.currentFiber = undefined
    })
    if (task !== undefined && this.late.has(task)) this.onLate?.(fiber)
    return strand
  }

  private mix(...numbers: ReadonlyArray<number>): void {
    for (const number of numbers) this.fingerprint = Math.imul(this.fingerprint ^ (number + 1), 0x01000193)
  }

  private tell(decision: Decision, to: string): void {
    const decider = this.current ?? this
    decider.decisions++
    if (this.told === undefined) return
    const from = this.current === undefined ? "the start" : describe(this.current, this.currentFiber)
    const told = { decision, from, to }
    this.told.push(told)
    if (decision._tag === "Switch") this.unnamed = told
  }
}

/** A fiber that goes on after a stop first ends the stop: it comes to the operation it stood before with its second one. */
const afterStop = 2

/** A fiber's number, and what it is at: the innermost span or traced function. */
const describe = ({ number }: Strand, fiber: AnyFiber | undefined): string => {
  const span = fiber?.cache.span
  const name = (span?._tag === "Span" ? span.name : undefined) ?? fiber?.cache.stackFrame?.name
  return name === undefined ? `#${number}` : `#${number} (${name})`
}
