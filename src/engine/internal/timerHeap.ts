/** A binary heap of things with a time, the earliest at index 0. Pure functions over an array. */
interface Timed {
  readonly at: number
}

/** Puts one in. */
export const push = <A extends Timed>(heap: Array<A>, item: A): void => {
  let at = heap.push(item) - 1
  while (at > 0) {
    const parent = (at - 1) >> 1
    if (heap[parent]!.at <= item.at) break
    heap[at] = heap[parent]!
    at = parent
  }
  heap[at] = item
}

/** Takes the earliest out. */
export const pop = <A extends Timed>(heap: Array<A>): A | undefined => {
  const first = heap[0]
  const last = heap.pop()
  if (first !== last && last !== undefined) sink(heap, last)
  return first
}

// Puts an item into the hole at the top.
const sink = <A extends Timed>(heap: Array<A>, item: A): void => {
  let at = 0
  for (let child = 1; child < heap.length; child = 2 * at + 1) {
    if (child + 1 < heap.length && heap[child + 1]!.at < heap[child]!.at) child++
    if (heap[child]!.at >= item.at) break
    heap[at] = heap[child]!
    at = child
  }
  heap[at] = item
}

/** Makes a heap of what is in no order. */
export const from = <A extends Timed>(items: ReadonlyArray<A>): Array<A> => [...items].sort((a, b) => a.at - b.at)
