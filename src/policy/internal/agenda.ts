/**
 * What falls due, and when: a heap in which every entry knows its place, so moving one or taking it out costs log n. It knows
 * no clock; {@link Timer} drives it.
 */
export interface Entry {
  at: number
  /** Of entries due at one time, those of the lower rank come first. */
  readonly rank: number
  /** Its place in the heap; -1 outside. */
  index: number
  readonly fire: () => void
}

export class Agenda {
  private readonly heap: Array<Entry> = []

  get first(): Entry | undefined {
    return this.heap[0]
  }

  /** Puts an entry in, or moves it. */
  set(entry: Entry, at: number): void {
    entry.at = at
    if (entry.index === -1) {
      entry.index = this.heap.length
      this.heap.push(entry)
    }
    this.settle(entry)
  }

  remove(entry: Entry): void {
    const { index } = entry
    if (index === -1) return
    entry.index = -1
    const last = this.heap.pop()!
    if (last === entry) return
    last.index = index
    this.heap[index] = last
    this.settle(last)
  }

  private settle(entry: Entry): void {
    const { heap } = this
    let { index } = entry
    for (let parent = heap[(index - 1) >> 1]; index > 0 && before(entry, parent!); parent = heap[(index - 1) >> 1]) {
      heap[index] = parent!
      parent!.index = index
      index = (index - 1) >> 1
    }
    for (;;) {
      const left = heap[2 * index + 1]
      if (left === undefined) break
      const right = heap[2 * index + 2]
      const child = right !== undefined && before(right, left) ? right : left
      if (!before(child, entry)) break
      const place = child.index
      heap[index] = child
      child.index = index
      index = place
    }
    heap[index] = entry
    entry.index = index
  }
}

const before = (a: Entry, b: Entry): boolean => a.at < b.at || (a.at === b.at && a.rank < b.rank)
