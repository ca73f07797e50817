/**
 * What the two halves of the history predictor say to each other. The memory (what followed what, where values came from) turns
 * the past of a run into a situation: the calls that could be next, each with what speaks for it. The ranker turns a situation
 * into probabilities, and learns from what came of it.
 */

/** A call that could be next. `params` as a model would send them; `features` always of one length. */
export interface Choice {
  readonly tool: string
  readonly params: Readonly<Record<string, unknown>>
  readonly features: Float64Array
}

/** What a turn is judged by, before it: the likeliest calls, and features of the turn as a whole (will it call at all?). */
export interface Situation {
  readonly choices: ReadonlyArray<Choice>
  readonly turn: Float64Array
}

/** What the turn did: how many calls it made (0: it answered), and which of the choices were among them. */
export interface Truth {
  readonly calls: number
  readonly right: ReadonlyArray<number>
}

/** What one situation came to, for the ranker. */
export interface Row {
  readonly situation: Situation
  readonly truth: Truth
}

/** Text under short names, such as `counts/3`: what is kept between processes. */
export type Pages = ReadonlyMap<string, string>
