/** Who is meant by whom: expected calls matched with calls that happened, each with one at most. Pure. */

/** For each of the wanted the call it was matched with, or `undefined`. As many as can be are matched. */
export type Matching = ReadonlyArray<number | undefined>

/**
 * A matching of the greatest size: no expectation that would take any call keeps one that another needs. `candidates[i]` are the
 * calls that would do for the wanted `i`, best first.
 */
export const match = (candidates: ReadonlyArray<ReadonlyArray<number>>): Matching => {
  const takenBy = new Map<number, number>()
  const taken: Array<number | undefined> = candidates.map(() => undefined)
  for (let wanted = 0; wanted < candidates.length; wanted++) {
    const free = candidates[wanted]!.find((call) => !takenBy.has(call))
    if (free === undefined) augment(candidates, takenBy, taken, wanted)
    else {
      takenBy.set(free, wanted)
      taken[wanted] = free
    }
  }
  return taken
}

/** Whether every wanted has a call of its own. */
export const isComplete = (matching: Matching): boolean => matching.every((call) => call !== undefined)

// One step of the Hungarian method without weights: breadth first over calls whose takers can turn to another. No recursion, since
// ten thousand alike calls make paths as long.
const augment = (
  candidates: ReadonlyArray<ReadonlyArray<number>>,
  takenBy: Map<number, number>,
  taken: Array<number | undefined>,
  start: number
): void => {
  const cameFrom = new Map<number, number>()
  const queue = [start]
  for (let at = 0; at < queue.length; at++) {
    const wanted = queue[at]!
    for (const call of candidates[wanted]!) {
      if (cameFrom.has(call)) continue
      cameFrom.set(call, wanted)
      const holder = takenBy.get(call)
      if (holder !== undefined) queue.push(holder)
      else return turn(cameFrom, takenBy, taken, call)
    }
  }
}

const turn = (
  cameFrom: ReadonlyMap<number, number>,
  takenBy: Map<number, number>,
  taken: Array<number | undefined>,
  free: number
): void => {
  for (let call: number | undefined = free; call !== undefined;) {
    const wanted: number = cameFrom.get(call)!
    const before: number | undefined = taken[wanted]
    takenBy.set(call, wanted)
    taken[wanted] = call
    call = before
  }
}
