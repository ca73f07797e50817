/** How often what was stated came true: by tenths, and over all (expected calibration error). */
export class Tally {
  readonly bins = Array.from({ length: 10 }, () => ({ count: 0, stated: 0, right: 0 }))

  add(stated: number, right: boolean): void {
    const bin = this.bins[Math.min(9, Math.floor(stated * 10))]!
    bin.count++
    bin.stated += stated
    if (right) bin.right++
  }

  /** The tenths that have 100 or more. */
  full() {
    return this.bins.filter((bin) => bin.count >= 100)
  }

  worst(): number {
    return Math.max(...this.full().map((bin) => Math.abs(bin.stated - bin.right) / bin.count))
  }

  error(): number {
    const count = this.bins.reduce((sum, bin) => sum + bin.count, 0)
    return this.bins.reduce((sum, bin) => sum + Math.abs(bin.stated - bin.right), 0) / count
  }

  toString(): string {
    return this.bins.filter((bin) => bin.count > 0).map(({ count, right, stated }) =>
      `${(stated / count).toFixed(2)} stated, ${(right / count).toFixed(2)} right (${count})`
    ).join("; ")
  }
}
