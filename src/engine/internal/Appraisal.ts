/**
 * What the program knows of its guesses over all runs, and what it makes of it: who is believed how far, what a guess would
 * save, who is off, and whether there is room. Bounded in memory, whatever the predictors say.
 */
import type { BoundTool } from "./Call.ts"
import { GuessBudget } from "./guessBudget.ts"
import { Ledger, mostPairs, mostPredictors, pairOf } from "./Ledger.ts"
import { ObservedTimes } from "./observedTimes.ts"
import { orElse } from "./orElse.ts"
import { Recent } from "./recent.ts"
import type { Appraiser, Candidate, Refusal, Settled } from "./speculating.ts"
import { countSettled } from "./speculationCounters.ts"
import type { Settings } from "./speculationSettings.ts"
import { Standing } from "./Standing.ts"
import type { Sample } from "./Standing.ts"

/** One guess that was admitted. */
interface Admission {
  readonly pair: Standing
  readonly predictor: Standing
  readonly isProbe: boolean
  readonly price: number
  readonly at: number
  isAtWork: boolean
  isSettled: boolean
}

/** What a call saves or costs whose tool was never seen, where a number is needed. */
const unknownMillis = 1000

const mostTools = 1024
const mostServices = 64

export class Appraisal implements Appraiser {
  private readonly settings: Settings
  private readonly ledger = new Ledger()
  private readonly pairs = new Recent(mostPairs, () => new Standing())
  private readonly predictors = new Recent(mostPredictors, () => new Standing())
  private readonly tools = new Recent(mostTools, () => new ObservedTimes())
  private readonly services = new Recent(mostServices, () => new ObservedTimes())
  private readonly budget: GuessBudget
  private readonly admissions = new WeakMap<Candidate, Admission>()
  private readonly rate: number
  private atWork = 0

  constructor(settings: Settings) {
    this.settings = settings
    this.budget = new GuessBudget(settings.budget.calls, settings.budget.windowMillis)
    this.rate = exchangeRate(settings.confidenceThreshold)
  }

  listens(predictor: string, now: number): boolean {
    return this.predictors.get(predictor).listens(now)
  }

  asked(predictor: string): void {
    this.ledger.asked(predictor)
  }

  failed(predictor: string): void {
    this.ledger.failed(predictor)
  }

  ignored(predictor: string): void {
    this.ledger.ignored(predictor)
  }

  spent(predictor: string, tokens: number): void {
    this.ledger.spent(predictor, tokens)
  }

  confidence(candidate: Candidate): number {
    return candidate.stated * this.pairs.get(pairOf(candidate)).belief.factor
  }

  admit(candidate: Candidate, now: number, modelMillisLeft: number | undefined): undefined | Refusal {
    const pair = this.pairs.get(pairOf(candidate))
    const predictor = this.predictors.get(candidate.predictor)
    const believed = candidate.stated * pair.belief.factor
    if (!(believed >= this.settings.confidenceThreshold)) return "confidence"
    const price = priceOf(candidate)
    const saving = Math.min(this.typical(candidate.tool) ?? Infinity, modelMillisLeft ?? Infinity)
    if (!(believed * saving > price)) return "worth"
    if (!pair.hasRoom(now) || !predictor.hasRoom(now)) return "off"
    if (this.atWork >= this.settings.maxConcurrent) return "concurrency"
    if (!this.budget.hasRoom(now)) return "budget"
    this.atWork++
    this.budget.take(now)
    this.ledger.started(candidate)
    predictor.started(now)
    const isProbe = pair.started(now)
    this.admissions.set(candidate, { pair, predictor, isProbe, price, at: now, isAtWork: true, isSettled: false })
    return undefined
  }

  ended(candidate: Candidate): void {
    const admission = this.admissions.get(candidate)
    if (admission === undefined || !admission.isAtWork) return
    admission.isAtWork = false
    this.atWork--
  }

  settled(candidate: Candidate, settled: Settled, now: number): void {
    const admission = this.admissions.get(candidate)
    if (admission === undefined || admission.isSettled) return
    admission.isSettled = true
    this.ledger.settled(candidate, settled)
    countSettled(candidate, settled)
    this.adjustBudget(settled, admission.at, now)
    const sample = this.sampleOf(settled, admission.price)
    admission.pair.learn(sample)
    admission.pair.count(sample, now, admission.isProbe)
    admission.predictor.count(sample, now)
  }

  judged(candidate: Candidate, right: boolean, started: boolean, now: number): void {
    const pair = this.pairs.get(pairOf(candidate))
    const predictor = this.predictors.get(candidate.predictor)
    this.ledger.judged(candidate, right, started)
    pair.belief.judged(candidate.stated, right, now)
    predictor.belief.judged(candidate.stated, right, now)
    const sample = started ? undefined : this.sampleOfUnstarted(pair, candidate, right)
    if (sample === undefined) return
    pair.count(sample, now, false)
    predictor.count(sample, now)
  }

  toolTook(tool: BoundTool, millis: number): void {
    this.tools.get(tool.compiled.tool.name).add(millis)
  }

  modelTook(service: string, millis: number): void {
    this.services.get(service).add(millis)
  }

  modelLeft(service: string, elapsed: number): number | undefined {
    return this.services.peek(service)?.left(elapsed)
  }

  isOff(predictor: string): boolean {
    return this.predictors.peek(predictor)?.isOff ?? false
  }

  report(): ReturnType<Ledger["report"]> {
    return this.ledger.report((predictor) => this.isOff(predictor))
  }

  private typical(tool: BoundTool): number | undefined {
    return this.tools.peek(tool.compiled.tool.name)?.typical
  }

  private adjustBudget({ outcome, rateLimited }: Settled, startedAt: number, now: number): void {
    if (rateLimited) this.budget.refused(startedAt, now)
    else if (outcome !== "preempted") this.budget.gotThrough()
    if (outcome === "hit" || outcome === "lateHit") this.budget.claimed(startedAt)
  }

  private sampleOf({ outcome, savedMillis, wastedMillis }: Settled, price: number): Sample {
    const right = outcome === "hit" || outcome === "lateHit"
    return {
      right,
      saved: savedMillis,
      cost: right ? 0 : price + this.rate * wastedMillis,
      idle: outcome === "failed" || outcome === "preempted"
    }
  }

  /** What a guess would have come to; `undefined` where it would not have been started by what was stated. */
  private sampleOfUnstarted(pair: Standing, candidate: Candidate, right: boolean): Sample | undefined {
    const millis = this.typical(candidate.tool) ?? unknownMillis
    const price = priceOf(candidate)
    const { stated } = candidate
    if (!(stated >= this.settings.confidenceThreshold && stated * millis > price)) return undefined
    return pair.asStarted(right, millis, price + this.rate * millis)
  }
}

/** `NaN` where it is none. */
const priceOf = ({ decoded, tool }: Candidate): number => {
  const price = tool.compiled.policies.priceMillis
  if (typeof price === "number") return price
  const millis: unknown = orElse(() => price(decoded as never), Number.NaN)
  return typeof millis === "number" && millis >= 0 ? millis : Number.NaN
}

/**
 * What a wasted millisecond may cost of a saved one. Who starts guesses believed `threshold` gives (1 - threshold) wasted for
 * `threshold` saved; half of that, as chance must not switch off. Never nothing: who is always wrong loses at any threshold.
 */
const exchangeRate = (threshold: number): number => {
  const most = Math.min(threshold, 0.98)
  return Math.max(0.02, most / (1 - most) / 2)
}
