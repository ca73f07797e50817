/**
 * What is known of tools besides counts: which sets of arguments a tool was called with, in which kinds of places each argument's
 * value was found, which values come back run after run, and which whole calls stood in one earlier happening (frames). All of it
 * is bounded, and the least seen makes room.
 */
import { textKey } from "./historyHash.ts"

export const limits = {
  tools: 256,
  arguments: 64,
  signatures: 8,
  places: 64,
  constants: 64,
  constantText: 60,
  frames: 96,
  codes: 512,
  codesOfOne: 4,
  years: 16
}

/** A whole call found in one earlier happening: which (the newest or the one before of a tool), and a place for each argument. */
export interface Frame {
  readonly tool: number
  readonly back: number
  readonly names: ReadonlyArray<string>
  /** One place a name; 0 where the value stood elsewhere. */
  readonly places: ReadonlyArray<number>
}

export interface FrameCount {
  readonly frame: Frame
  times: number
}

export interface ArgumentKnowledge {
  readonly name: string
  readonly key: number
  readonly places: Map<number, number>
  readonly constants: Map<string, number>
}

export interface ToolKnowledge {
  readonly name: string
  readonly key: number
  readonly signatures: Map<string, number>
  readonly arguments: Map<string, ArgumentKnowledge>
  readonly frames: Map<number, FrameCount>
  calls: number
}

/** Adds to a bounded table; where it is full the least of it goes. */
export const bump = <K>(table: Map<K, number>, key: K, most: number): void => {
  const before = table.get(key)
  if (before === undefined && table.size >= most) {
    let least: K | undefined
    let times = Infinity
    for (const [other, count] of table) if (count < times) [least, times] = [other, count]
    for (const [other, count] of table) table.set(other, count * 0.98)
    if (least !== undefined) table.delete(least)
  }
  table.set(key, (before ?? 0) + 1)
}

/** An argument nothing is known of. */
export const newArgument = (tool: string, name: string): ArgumentKnowledge => ({
  name,
  key: textKey(tool + "." + name),
  places: new Map(),
  constants: new Map()
})

/** A tool nothing is known of. */
export const newTool = (name: string): ToolKnowledge => ({
  name,
  key: textKey(name),
  signatures: new Map(),
  arguments: new Map(),
  frames: new Map(),
  calls: 0
})

/** What the arguments of that name have in common, whatever the tool. */
export const sharedKey = (name: string): number => textKey("*." + name)
