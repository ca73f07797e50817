/** The program's appraiser as one run sees it: what the run's guesses came to is counted for the run as well. */
import type { SpeculationReport } from "../../domain/Report.ts"
import type { Appraisal } from "./Appraisal.ts"
import type { BoundTool } from "./Call.ts"
import { Ledger } from "./Ledger.ts"
import type { Appraiser, Candidate, Refusal, Settled } from "./speculating.ts"

export class RunAppraisal implements Appraiser {
  private readonly shared: Appraisal
  private readonly ledger = new Ledger()

  constructor(shared: Appraisal) {
    this.shared = shared
  }

  listens(predictor: string, now: number): boolean {
    return this.shared.listens(predictor, now)
  }

  asked(predictor: string): void {
    this.shared.asked(predictor)
    this.ledger.asked(predictor)
  }

  failed(predictor: string): void {
    this.shared.failed(predictor)
    this.ledger.failed(predictor)
  }

  ignored(predictor: string): void {
    this.shared.ignored(predictor)
    this.ledger.ignored(predictor)
  }

  spent(predictor: string, tokens: number): void {
    this.shared.spent(predictor, tokens)
    this.ledger.spent(predictor, tokens)
  }

  confidence(candidate: Candidate): number {
    return this.shared.confidence(candidate)
  }

  admit(candidate: Candidate, now: number, modelMillisLeft: number | undefined): undefined | Refusal {
    const refusal = this.shared.admit(candidate, now, modelMillisLeft)
    if (refusal === undefined) this.ledger.started(candidate)
    return refusal
  }

  ended(candidate: Candidate): void {
    this.shared.ended(candidate)
  }

  settled(candidate: Candidate, settled: Settled, now: number): void {
    this.shared.settled(candidate, settled, now)
    this.ledger.settled(candidate, settled)
  }

  judged(candidate: Candidate, right: boolean, started: boolean, now: number): void {
    this.shared.judged(candidate, right, started, now)
    this.ledger.judged(candidate, right, started)
  }

  toolTook(tool: BoundTool, millis: number): void {
    this.shared.toolTook(tool, millis)
  }

  modelTook(service: string, millis: number): void {
    this.shared.modelTook(service, millis)
  }

  modelLeft(service: string, elapsed: number): number | undefined {
    return this.shared.modelLeft(service, elapsed)
  }

  /** Of this run. */
  report(): SpeculationReport {
    return this.ledger.report((predictor) => this.shared.isOff(predictor))
  }
}
