/**
 * What guesses came to, counted: of one run, or of all. Every guess that started has one outcome in the end, so where none is
 * under way `started` is the sum of the outcomes.
 */
import type { PredictorEntry, SpeculationEntry, SpeculationReport } from "../../domain/Report.ts"
import { Recent } from "./recent.ts"
import type { Candidate, Settled } from "./speculating.ts"

type Mutable<A> = { -readonly [K in keyof A]: A[K] }
type Entry = Mutable<Omit<SpeculationEntry, "predictor" | "tool">>
type Predictor = Mutable<Omit<PredictorEntry, "predictor" | "off">>

/** Predictors, each about each tool, of which is known at once; those used least recently are forgotten. */
export const mostPairs = 1024
export const mostPredictors = 256

/** A name for a predictor's guesses about a tool that no other two share. */
export const pairOf = ({ predictor, tool }: Candidate): string =>
  `${predictor.length} ${predictor}${tool.compiled.tool.name}`

export class Ledger {
  private readonly pairs = new Recent<Entry>(mostPairs, makeEntry)
  private readonly predictors = new Recent<Predictor>(mostPredictors, makePredictor)
  /** Who started is counted where it was, also when that is forgotten by then. */
  private readonly underWay = new WeakMap<Candidate, Entry>()

  asked(predictor: string): void {
    this.predictors.get(predictor).asked++
  }

  failed(predictor: string): void {
    this.predictors.get(predictor).failures++
  }

  ignored(predictor: string): void {
    const counts = this.predictors.get(predictor)
    counts.guesses++
    counts.ignored++
  }

  spent(predictor: string, tokens: number): void {
    if (tokens > 0 && tokens < Infinity) this.predictors.get(predictor).tokens += tokens
  }

  started(candidate: Candidate): void {
    const entry = this.pairs.get(pairOf(candidate))
    entry.started++
    this.underWay.set(candidate, entry)
  }

  settled(candidate: Candidate, { outcome, savedMillis, wastedMillis, wastedTokens }: Settled): void {
    const entry = this.underWay.get(candidate)
    if (entry === undefined) return
    this.underWay.delete(candidate)
    entry[outcome]++
    entry.savedMillis += savedMillis
    entry.wastedMillis += wastedMillis
    entry.wastedTokens += wastedTokens
  }

  judged(candidate: Candidate, right: boolean, started: boolean): void {
    this.predictors.get(candidate.predictor).guesses++
    const entry = this.pairs.get(pairOf(candidate))
    if (right) entry.right++
    if (!started) entry.passed++
  }

  report(isOff: (predictor: string) => boolean): SpeculationReport {
    return {
      entries: Array.from(this.pairs.entries(), ([pair, entry]) => ({ ...namesOf(pair), ...entry })),
      predictors: Array.from(this.predictors.entries(), ([predictor, counts]) => ({
        predictor,
        ...counts,
        off: isOff(predictor)
      }))
    }
  }
}

const namesOf = (pair: string): { readonly predictor: string; readonly tool: string } => {
  const start = pair.indexOf(" ") + 1
  const end = start + Number(pair.slice(0, start))
  return { predictor: pair.slice(start, end), tool: pair.slice(end) }
}

const makeEntry = (): Entry => ({
  started: 0,
  passed: 0,
  right: 0,
  hit: 0,
  lateHit: 0,
  miss: 0,
  failed: 0,
  preempted: 0,
  savedMillis: 0,
  wastedMillis: 0,
  wastedTokens: 0
})

const makePredictor = (): Predictor => ({ asked: 0, guesses: 0, ignored: 0, failures: 0, tokens: 0 })
