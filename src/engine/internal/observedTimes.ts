/**
 * How long things take, from the last few of them: the typical time, whatever single ones did, and how much of one is left when
 * part of it has passed.
 */

const remembered = 32

export class ObservedTimes {
  private readonly millis: Array<number> = []
  private next = 0
  private sorted: ReadonlyArray<number> | undefined = undefined

  add(millis: number): void {
    if (!(millis >= 0 && millis < Infinity)) return
    this.millis[this.next] = millis
    this.next = (this.next + 1) % remembered
    this.sorted = undefined
  }

  /** The median; `undefined` where nothing was observed. */
  get typical(): number | undefined {
    const { inOrder } = this
    const middle = inOrder.length >> 1
    return inOrder.length % 2 === 1
      ? inOrder[middle]
      : middle === 0
      ? undefined
      : mean(inOrder.slice(middle - 1, middle + 1))
  }

  /**
   * What is left after `elapsed`: the mean of those that took longer. One that outlasts them all is about to end, and has a tenth
   * of the typical time left.
   */
  left(elapsed: number): number | undefined {
    const { typical } = this
    if (typical === undefined) return undefined
    const longer = this.inOrder.filter((each) => each > elapsed)
    return longer.length === 0 ? typical / 10 : mean(longer) - elapsed
  }

  private get inOrder(): ReadonlyArray<number> {
    return this.sorted ??= this.millis.toSorted((a, b) => a - b)
  }
}

const mean = (numbers: ReadonlyArray<number>): number => numbers.reduce((sum, each) => sum + each, 0) / numbers.length
