/**
 * The ranker as text: its weights and what is known of its tools in one page, its lessons in eight. Reading gives nothing where a
 * page is not what was written.
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Model } from "./historyLogit.ts"
import { type Fitted, Ranker } from "./historyRanker.ts"
import { Lessons, type Widths } from "./historyRows.ts"
import type { Pages } from "./historyTypes.ts"

const Numbers = Schema.Array(Schema.Finite)
const ModelText = Schema.Struct({ mean: Numbers, deviation: Numbers, weights: Numbers, none: Schema.Finite })
const LineText = Schema.Struct({ slope: Schema.Finite, shift: Schema.Finite })
const Known = Schema.Array(Schema.Tuple([
  Schema.String,
  Schema.Array(Schema.Tuple([Schema.Finite, Schema.Finite, Schema.Finite]))
]))

const RankerText = Schema.Struct({
  choice: ModelText,
  calls: ModelText,
  several: ModelText,
  many: Schema.Finite,
  confidence: LineText,
  ifCalling: LineText,
  fitted: Schema.Boolean,
  runs: Schema.Finite,
  turns: Schema.Finite,
  unfitted: Schema.Finite,
  next: Schema.Finite,
  judged: Known,
  calling: Known
})

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(RankerText))

/** Six digits say all a weight knows. */
const rounded = (values: Iterable<number>): ReadonlyArray<number> =>
  Array.from(values, (value) => Number(value.toPrecision(6)))

const modelText = (model: Model) => ({
  mean: rounded(model.mean),
  deviation: rounded(model.deviation),
  weights: rounded(model.weights),
  none: model.none
})

const modelFrom = (text: typeof ModelText.Type, width: number): Model | undefined =>
  [text.mean, text.deviation, text.weights].some((values) => values.length !== width) ||
    text.deviation.some((value) => value <= 0)
    ? undefined
    : {
      mean: Float64Array.from(text.mean),
      deviation: Float64Array.from(text.deviation),
      weights: Float64Array.from(text.weights),
      none: text.none
    }

/** The pages of a ranker: all of them, or those that changed since they were last asked for. */
export const rankerPages = (ranker: Ranker, only: "all" | "changed"): Map<string, string> => {
  const { fitted, ...seen } = ranker.kept
  const pages = ranker.lessons.pages(only)
  const text: typeof RankerText.Type = {
    ...fitted,
    ...seen,
    choice: modelText(fitted.choice),
    calls: modelText(fitted.calls),
    several: modelText(fitted.several),
    next: ranker.lessons.next,
    judged: ranker.judged.entries(),
    calling: ranker.calling.entries()
  }
  return pages.set("ranker", JSON.stringify(text))
}

const fittedFrom = (text: typeof RankerText.Type, like: Fitted): Fitted | undefined => {
  const choice = modelFrom(text.choice, like.choice.weights.length)
  const calls = modelFrom(text.calls, like.calls.weights.length)
  const several = modelFrom(text.several, like.several.weights.length)
  if (choice === undefined || calls === undefined || several === undefined) return undefined
  const { confidence, fitted, ifCalling, many } = text
  return { choice, calls, several, many, confidence, ifCalling, fitted }
}

/** The ranker of these pages; `undefined` where they are not what one wrote. */
export const rankerFrom = (pages: Pages, widths: Widths): Ranker | undefined => {
  const text = Option.getOrUndefined(decode(pages.get("ranker")))
  if (text === undefined) return undefined
  const fitted = fittedFrom(text, new Ranker(widths).kept.fitted)
  const lessons = Lessons.from(pages, text.next, widths)
  if (fitted === undefined || lessons === undefined) return undefined
  const { runs, turns, unfitted } = text
  const ranker = new Ranker(widths, { fitted, runs, turns, unfitted }, lessons)
  ranker.judged.restore(text.judged)
  ranker.calling.restore(text.calling)
  return ranker
}
