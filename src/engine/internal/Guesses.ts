/**
 * The guesses of one run: foreseen, started where they are worth it and room is idle, claimed by the calls the model makes, and
 * thrown away when its answer rules them out. The run's loop, its calls and its history do not know of them.
 *
 * foreseen → considered (judged when the turn is over) → started → claimed, or discarded. What is worth a call the appraiser
 * says; what a guess goes through is the pipeline's.
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as CancelReason from "../../domain/CancelReason.ts"
import type { Abandoned, SpeculationReport } from "../../domain/Report.ts"
import type * as Predictor from "../../policy/Predictor.ts"
import { outcomeFor } from "./Adoption.ts"
import { ArgumentText } from "./ArgumentText.ts"
import * as Attempt from "./Attempt.ts"
import { Call } from "./Call.ts"
import type { BoundTool, Environment, Outcome, Runner, Speculating } from "./Call.ts"
import type { Epochs } from "./Epochs.ts"
import { evaluate, exitOf } from "./exitOf.ts"
import { Foreseeing } from "./Foreseeing.ts"
import { Foresight } from "./Foresight.ts"
import type { Foreseen } from "./Foresight.ts"
import { Freshness } from "./Freshness.ts"
import { Guess } from "./Guess.ts"
import type { GuessOwner, Why } from "./Guess.ts"
import { GuessAdmission } from "./GuessAdmission.ts"
import { GuessesAtWork } from "./GuessesAtWork.ts"
import { guessListener } from "./guessListener.ts"
import { answers, argumentsName, runMillisOf, settledOf } from "./guessOutcome.ts"
import type { Learning } from "./Learning.ts"
import { Lessons } from "./Lessons.ts"
import { decodeGuess } from "./sameParameters.ts"
import type { Same } from "./sameParameters.ts"
import type { Appraiser, Candidate, Host, RunSpeculation, Settled } from "./speculating.ts"
import type { Settings } from "./speculationSettings.ts"
import { openCall } from "./Tracing.ts"
import type { Turn } from "./Turn.ts"

/** What the runs of a program share, and the run's own part of it. */
export interface Shared {
  readonly settings: Settings
  readonly appraiser: Appraiser & { readonly report: () => SpeculationReport }
  readonly predictor: Predictor.PredictorService | undefined
  readonly learning: Learning
  readonly epochs: Epochs
  /** Tools whose guesses did not stop when asked: they are not guessed any more. */
  readonly deaf: WeakSet<object>
}

/** Finished guesses that nobody has asked for yet are kept, so many a run. */
const mostKept = 16

/** How sure one is of arguments that look complete. */
const argumentsConfidence = 0.99

export const makeGuesses = (host: Host, shared: Shared): RunSpeculation => new Guesses(host, shared)

class Guesses implements RunSpeculation, GuessOwner {
  private readonly host: Host
  private readonly shared: Shared
  private readonly foresight: Foresight
  private readonly freshness: Freshness
  private readonly writing = new ArgumentText()
  private readonly environment: Environment
  /** Those that a call may still claim, and those that a call has joined. */
  private readonly live = new Set<Guess>()
  private readonly lessons: Lessons
  private readonly atWork = new GuessesAtWork()
  private readonly foreseeing = new Foreseeing()
  /** Handlers that outlived their grace, and were no call's by then. */
  readonly abandoned: Array<Abandoned> = []
  readonly nested: Speculating = {
    made: () => {},
    claim: (call, next) => this.goOn(call, next),
    ended: (call) => this.ended(call),
    get nested() {
      return this
    }
  }
  private turn: Turn | undefined = undefined
  private askedAt = 0
  private started = 0
  private isReading = false
  private isClosed = false
  private ids = 0

  constructor(host: Host, shared: Shared) {
    this.host = host
    this.shared = shared
    this.foresight = new Foresight(host, shared.appraiser, shared.predictor)
    this.lessons = new Lessons(shared)
    this.freshness = new Freshness(shared.epochs)
    const { parent, runId, timers, tracing } = host.settings
    this.environment = {
      timers,
      admission: new GuessAdmission(host.dispatcher, this.released, this.atWork.outlived),
      listener: guessListener(host, shared.deaf, this.abandoned),
      tracing,
      parent,
      runId
    }
  }

  private get now(): number {
    return this.host.settings.timers.now()
  }

  private get service(): string {
    return this.host.settings.modelService ?? "model"
  }

  // ---- a turn ---------------------------------------------------------------------------------------------------------

  asked(turn: Turn): void {
    this.askedAt = this.now
    this.isReading = true
    this.writing.clear()
    // A turn that is asked again is foreseen already.
    if (this.turn === turn) return
    this.turn = turn
    this.foreseeing.begin()
    this.started = 0
    this.sweep()
    this.foresight.ask(turn.step, (foreseen) => this.consider(foreseen))
  }

  opened(id: string, name: string): void {
    this.writing.opened(id, this.host.settings.tools.get(name))
  }

  grew(id: string, delta: string): void {
    const complete = this.writing.grew(id, delta)
    if (complete === undefined) return
    const { params, tool } = complete
    const decoded = exitOf(evaluate(() => decodeGuess(tool, params)))
    if (decoded?._tag !== "Success") return
    const guess = { tool: tool.compiled.tool.name, params, confidence: argumentsConfidence, predictor: argumentsName }
    this.writing.guessed(id, this.consider({ predictor: argumentsName, guess, tool, decoded: decoded.value }))
  }

  finished(): void {
    this.foresight.stop()
    this.writing.clear()
    this.isReading = false
    for (const guess of this.live) if (guess.state === "running") guess.discard("refuted")
    // The newest are the likeliest to be asked for yet.
    const kept = [...this.live].filter(({ state }) => state === "finished")
    for (const guess of kept.slice(0, Math.max(kept.length - mostKept, 0))) guess.discard("refuted")
  }

  endReading({ endedAt, startedAt }: Turn, broken: boolean): void {
    this.finished()
    if (broken) return
    const { appraiser } = this.shared
    appraiser.modelTook(this.service, endedAt - startedAt)
    const considered = this.foreseeing.take()
    for (const { candidate, right, started } of considered) appraiser.judged(candidate, right, started, this.now)
    this.lessons.tell(considered.filter(({ candidate }) => candidate.predictor !== argumentsName))
  }

  // ---- starting -------------------------------------------------------------------------------------------------------

  private consider({ decoded: { decoded, same }, guess, predictor, tool }: Foreseen): Guess | undefined {
    if (!this.isReading) return undefined
    const candidate: Candidate = { predictor, tool, stated: guess.confidence, decoded }
    const right = this.foreseeing.isMade(candidate, same)
    if (predictor !== argumentsName && this.foreseeing.isSaid(candidate)) {
      this.shared.appraiser.ignored(predictor)
      return undefined
    }
    const considered = { guess, candidate, same, right, started: false }
    const isForeseen = !right && this.isForeseen(candidate, decoded)
    // What the model is about to confirm is no further guess.
    if (predictor !== argumentsName || !isForeseen) this.foreseeing.add(considered)
    if (right || isForeseen) return undefined
    const started = this.tryStart(candidate, guess.params, same)
    considered.started = started !== undefined
    return started
  }

  // Equal to one at hand. What is at hand and will not be claimed is no reason.
  private isForeseen({ tool }: Candidate, decoded: unknown): boolean {
    const equal = [...this.live].find((guess) => guess.candidate.tool === tool && guess.same(decoded))
    if (equal === undefined) return false
    if (equal.claim !== undefined || this.stands(equal)) return true
    equal.discard("stale")
    return false
  }

  private stands({ mark, startedAt }: Guess): boolean {
    return this.freshness.isFresh(mark) && this.now - startedAt <= this.shared.settings.maxAgeMillis
  }

  private tryStart(candidate: Candidate, params: unknown, same: Same): Guess | undefined {
    const { host, now, shared: { appraiser, settings } } = this
    const { tool } = candidate
    const isArguments = candidate.predictor === argumentsName
    if (this.isClosed || host.isEnding || tool.guess === undefined) return undefined
    if (this.shared.deaf.has(tool.compiled.tool)) return undefined
    if (!isArguments && this.started >= settings.maxPerTurn) return undefined
    if (!host.dispatcher.places.hasRoomFor(tool.compiled.permits)) return undefined
    const mark = this.freshness.mark(tool.compiled, candidate.decoded)
    if (mark === undefined) return undefined
    const confidence = appraiser.confidence(candidate)
    const left = appraiser.modelLeft(this.service, now - this.askedAt)
    if (appraiser.admit(candidate, now, left) !== undefined) return undefined
    if (!isArguments) this.started++
    const id = `spec_${++this.ids}`
    const step = this.turn!.step
    const guess = new Guess(this, { candidate, confidence, id, madeAt: now, mark, params, same, step })
    return this.start(guess, tool)
  }

  private start(guess: Guess, tool: BoundTool): Guess {
    const { id, params, step } = guess
    const call = new Call(id, tool.compiled.tool.name, params, step, tool, this.environment, this.done)
    guess.call = call
    call.guess = guess
    call.decoded = guess.candidate.decoded
    call.state = "waiting"
    this.live.add(guess)
    this.atWork.started(guess)
    call.span = openCall(call)
    tool.guess!(call)
    return guess
  }

  // ---- claiming -------------------------------------------------------------------------------------------------------

  made(call: Call): void {
    this.foreseeing.make(call)
  }

  claim(call: Call, next: Runner): void {
    // Told to stop in the step in which it got its turn: it only waits for its answer.
    if (call.reason !== undefined) return next(call)
    const guess = call.tool.guess === undefined ? undefined : this.matching(call)
    // Its own arguments say nothing for what was guessed of them before.
    if (guess === undefined || guess.candidate.predictor === argumentsName) this.refuteOnly(call)
    if (guess === undefined) this.goOn(call, next)
    else this.take(guess, call, next)
  }

  private take(guess: Guess, call: Call, next: Runner): void {
    const { now } = this
    const joined = guess.state === "running"
    const aheadMillis = now - guess.startedAt
    call.claimed = { speculationId: guess.id, aheadMillis, runMillis: 0 }
    call.attempts = 1
    call.startedAt = now
    this.host.emit({
      type: "tool-claimed",
      callId: call.id,
      speculationId: guess.id,
      name: call.name,
      running: joined,
      aheadMillis,
      time: this.host.time
    })
    guess.claim = { call, next, joined }
    if (!joined) return this.conclude(guess)
    call.adopted = guess.call
    const patience = call.tool.compiled.hedging?.afterMillis()
    if (patience === undefined) return
    guess.patience = call.environment.timers.addOnce(patience, () => this.leave(guess))
  }

  // As slow as an attempt that would get another beside it: its call waits no longer.
  private leave(guess: Guess): void {
    const { call, next } = guess.claim!
    guess.patience = undefined
    if (call.reason !== undefined || this.host.isEnding) return
    guess.state = "over"
    guess.claim = undefined
    call.adopted = undefined
    this.discarded(guess, "failed")
    Attempt.stop(guess.call, CancelReason.misspeculated)
    this.afresh(call, next)
  }

  // The one a call may have; those of them that do not stand are thrown away.
  private matching(call: Call): Guess | undefined {
    for (const guess of this.live) {
      if (guess.candidate.tool !== call.tool || guess.claim !== undefined || !guess.same(call.decoded)) continue
      if (!this.stands(guess)) guess.discard("stale")
      else if (!guess.hasStarted) guess.discard("refuted")
      else return guess
    }
    return undefined
  }

  // The only guess of the turn about a tool is wrong when the tool is called otherwise. Of several the next call may be one.
  private refuteOnly({ tool }: Call): void {
    const step = this.turn?.step
    const about = [...this.live].filter(({ candidate, step: of }) =>
      candidate.tool === tool && candidate.predictor !== argumentsName && of === step
    )
    const [only] = about
    if (about.length === 1 && only!.state === "running" && only!.claim === undefined) only!.discard("refuted")
  }

  // What it writes is stale from here on; a guess that reads it is stopped, and reads no half of it.
  private goOn(call: Call, next: Runner): void {
    if (this.freshness.begin(call)) this.sweep()
    next(call)
  }

  // The guess that a call has claimed has ended, or is left to itself.
  private conclude(guess: Guess): void {
    const { call, next } = guess.claim!
    const { outcome } = guess
    guess.state = "over"
    this.live.delete(guess)
    call.adopted = undefined
    if (guess.patience !== undefined) call.environment.timers.remove(guess.patience)
    if (call.reason !== undefined) {
      this.settle(guess, "miss")
      call.abandoned = guess.call.abandoned
      call.brokenCleanUp = guess.call.brokenCleanUp
      return this.answer(call, Attempt.stopped(call, call.reason), call.brokenCleanUp)
    }
    if (!answers(guess)) {
      this.discarded(guess, "failed")
      return this.afresh(call, next)
    }
    call.claimed!.runMillis = runMillisOf(guess, this.now)
    this.settle(guess, guess.claim!.joined ? "lateHit" : "hit")
    this.answer(call, outcomeFor(call, outcome!), guess.call.exit)
  }

  private answer(call: Call, outcome: Outcome, exit?: Exit.Exit<unknown, unknown>): void {
    call.released = true
    Attempt.settle(call, outcome, exit)
    call.environment.admission.free(call)
  }

  private afresh(call: Call, next: Runner): void {
    call.claimed = undefined
    call.attempts = 0
    call.startedAt = Number.NaN
    if (this.host.isEnding) return this.answer(call, Attempt.stopped(call, CancelReason.shutdown))
    this.goOn(call, next)
  }

  // ---- what guesses come to -------------------------------------------------------------------------------------------

  private readonly done = (call: Call, outcome: Outcome): void => {
    const guess = call.guess as Guess
    guess.outcome = outcome
    if (call.attempts === 0) this.shared.appraiser.ended(guess.candidate)
    if (guess.claim !== undefined) {
      // Else when its place is free again, in this same step.
      if (call.isActive || call.attempts === 0 || call.abandoned) this.conclude(guess)
    } else if (guess.state === "running") {
      if (outcome.status === "success") guess.state = "finished"
      else {
        guess.state = "over"
        this.discarded(guess, "failed")
      }
    }
    if (outcome.status === "success") {
      this.shared.appraiser.toolTook(call.tool, call.answeredAt - call.startedAt)
    }
    this.atWork.answered(guess)
  }

  private readonly released = (call: Call): void => {
    const guess = call.guess as Guess
    this.shared.appraiser.ended(guess.candidate)
    if (guess.claim !== undefined && guess.state !== "over") this.conclude(guess)
  }

  discarded(guess: Guess, why: Why): void {
    this.live.delete(guess)
    this.settle(guess, why === "preempted" || why === "failed" ? why : "miss")
    if (!guess.hasStarted) return
    this.host.emit({
      type: "tool-discarded",
      speculationId: guess.id,
      name: guess.call.name,
      why,
      runMillis: runMillisOf(guess, this.now),
      time: this.host.time
    })
  }

  private settle(guess: Guess, outcome: Settled["outcome"]): void {
    if (guess.settled) return
    guess.settled = true
    const { now } = this
    this.shared.appraiser.settled(guess.candidate, settledOf(guess, outcome, now), now)
  }

  answered(call: Call, { status }: Outcome): void {
    // What has begun may write until it has really ended.
    if (call.attempts === 0) this.freshness.end(call)
    if (status !== "success" || call.attempts === 0 || call.claimed !== undefined || call.adopted !== undefined) return
    this.shared.appraiser.toolTook(call.tool, call.answeredAt - call.startedAt)
  }

  ended(call: Call): void {
    this.freshness.end(call)
  }

  private sweep(): void {
    for (const guess of this.live) if (guess.claim === undefined && !this.stands(guess)) guess.discard("stale")
  }

  report(): SpeculationReport {
    for (const guess of this.live) guess.discard("run-ended")
    return this.shared.appraiser.report()
  }

  abandonAll(): void {
    this.atWork.abandonAll()
  }

  close(): Effect.Effect<void> {
    if (!this.isClosed) {
      this.isClosed = true
      this.finished()
      this.report()
      this.lessons.learn(this.host, this.foresight.tools)
    }
    return Effect.andThen(this.atWork.awaitEnded, Effect.suspend(() => this.foresight.ended))
  }
}
