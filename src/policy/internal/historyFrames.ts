/**
 * Whole calls that stood in one earlier happening: each argument, but one at most, at a fixed kind of place of the newest call of
 * some tool, or the one before. "The same search as last time in the other tool", "the way back of that flight".
 */
import { mix, textKey } from "./historyHash.ts"
import { type Frame, limits, type ToolKnowledge } from "./historyKnowledge.ts"
import type { Moment } from "./historyMoment.ts"
import type { Event } from "./historyView.ts"

const happenings = 5
const perArgument = 4
const combinations = 24
const argumentsLimit = 5
const hit = textKey("frame")
const tried = textKey("frame tried")

/** The names that a frame is counted under: it was the call, and it could have been. */
export const frameKeys = (tool: ToolKnowledge, id: number): readonly [hit: number, tried: number] => [
  mix(mix(hit, tool.key), id),
  mix(mix(tried, tool.key), id)
]

/** The happenings that frames are about: the newest five calls, at most two a tool. */
const anchors = (moment: Moment): ReadonlyArray<readonly [back: number, event: Event]> => {
  const found: Array<readonly [number, Event]> = []
  const seen = new Map<number, number>()
  for (let at = moment.calls.length - 1; at >= 0 && found.length < happenings; at--) {
    const event = moment.calls[at]!
    const back = seen.get(event.toolKey) ?? 0
    seen.set(event.toolKey, back + 1)
    if (back < 2) found.push([back, event])
  }
  return found
}

const placesOf = (moment: Moment, event: Event, text: string): ReadonlyArray<number> => {
  const id = moment.view.idOf(text)
  const places = new Set<number>()
  for (const offer of event.offers) if (offer.value === id && !offer.loose) places.add(offer.place)
  return [...places].slice(0, perArgument)
}

const combine = (options: ReadonlyArray<ReadonlyArray<number>>): ReadonlyArray<ReadonlyArray<number>> => {
  let all: Array<ReadonlyArray<number>> = [[]]
  for (const option of options) {
    const here = option.length === 0 ? [0] : option
    all = all.flatMap((some) => here.map((place) => [...some, place])).slice(0, combinations)
  }
  return all
}

/** The name of a frame among those of its tool. */
export const frameId = (frame: Frame): number =>
  frame.places.reduce((id, place) => mix(id, place), mix(mix(frame.tool, frame.back), textKey(frame.names.join("\n"))))

/** The frames that a call stood in: names of its arguments sorted, and their values as canonical text. */
export const framesOf = (
  moment: Moment,
  names: ReadonlyArray<string>,
  texts: ReadonlyArray<string>
): ReadonlyArray<Frame> => {
  if (names.length < 2 || names.length > argumentsLimit) return []
  const frames: Array<Frame> = []
  for (const [back, event] of anchors(moment)) {
    const options = texts.map((text) => placesOf(moment, event, text))
    if (options.filter((places) => places.length === 0).length > 1) continue
    for (const places of combine(options)) {
      const known = places.filter((place) => place !== 0).length
      if (known >= 2 || names.length === 2) frames.push({ tool: event.toolKey, back, names, places })
    }
  }
  return frames
}

/** A frame filled in: the values it gives, in the order of its names; undefined where it gives none. */
export interface Filled {
  readonly id: number
  readonly names: ReadonlyArray<string>
  readonly values: ReadonlyArray<number | undefined>
}

const firstAt = (event: Event): ReadonlyMap<number, number> => {
  const values = new Map<number, number>()
  for (const offer of event.offers) if (!values.has(offer.place)) values.set(offer.place, offer.value)
  return values
}

/** The known frames of a tool, filled from what happened. */
export const filledFrames = (moment: Moment, tool: ToolKnowledge): ReadonlyArray<Filled> => {
  if (tool.frames.size === 0) return []
  const here = new Map(anchors(moment).map(([back, event]) => [mix(event.toolKey, back), event]))
  const index = new Map<Event, ReadonlyMap<number, number>>()
  const filled: Array<Filled> = []
  for (const [id, { frame, times }] of tool.frames) {
    const event = times < 2 ? undefined : here.get(mix(frame.tool, frame.back))
    if (event === undefined) continue
    let places = index.get(event)
    if (places === undefined) index.set(event, places = firstAt(event))
    const values = frame.places.map((place) => place === 0 ? undefined : places.get(place))
    if (values.some((value, at) => value === undefined && frame.places[at] !== 0)) continue
    filled.push({ id, names: frame.names, values })
  }
  return filled
}

/** Learns a frame; the least seen makes room. */
export const learnFrame = (tool: ToolKnowledge, frame: Frame): void => {
  const id = frameId(frame)
  const known = tool.frames.get(id)
  if (known !== undefined) return void known.times++
  if (tool.frames.size >= limits.frames) {
    let least: number | undefined
    let times = Infinity
    for (const [other, count] of tool.frames) if (count.times < times) [least, times] = [other, count.times]
    for (const count of tool.frames.values()) count.times *= 0.98
    if (least !== undefined) tool.frames.delete(least)
  }
  tool.frames.set(id, { frame, times: 1 })
}
