/** Things by name, made when first asked for; of more than `most`, those not asked for the longest are forgotten. */
export class Recent<V> {
  private readonly known = new Map<string, V>()
  private readonly most: number
  private readonly make: () => V

  constructor(most: number, make: () => V) {
    this.most = most
    this.make = make
  }

  get(name: string): V {
    const value = this.known.get(name) ?? this.make()
    this.known.delete(name)
    this.known.set(name, value)
    if (this.known.size > this.most) this.known.delete(this.known.keys().next().value!)
    return value
  }

  /** As it is, without asking for it. */
  peek(name: string): V | undefined {
    return this.known.get(name)
  }

  entries(): Iterable<readonly [string, V]> {
    return this.known
  }
}
