/**
 * What has been written since when. A write bumps the epochs of its resources when it begins and when it ends; what was read in
 * between or before is stale. Resources count process-wide, in a table of fixed size: two keys that share a slot cost a guess,
 * never a wrong result. What says nothing of its resources is weighed by the run.
 */
import type { Resource } from "../../domain/ToolPolicy.ts"

const slots = 4096

export class Epochs {
  private readonly counts = new Float64Array(slots)
  private readonly writing = new Int32Array(slots)

  slotsOf(resources: ReadonlyArray<Resource>, kind: "read" | "write"): ReadonlyArray<number> {
    return resources.flatMap((resource) =>
      kind === "write"
        ? "write" in resource ? [slotOf(resource.write)] : []
        : [slotOf("write" in resource ? resource.write : resource.read)]
    )
  }

  begin(written: ReadonlyArray<number>): void {
    for (const slot of written) {
      this.counts[slot]!++
      this.writing[slot]!++
    }
  }

  end(written: ReadonlyArray<number>): void {
    for (const slot of written) {
      this.counts[slot]!++
      this.writing[slot]!--
    }
  }

  at(slot: number): number {
    return this.counts[slot]!
  }

  isWriting(slot: number): boolean {
    return this.writing[slot]! > 0
  }
}

// FNV-1a.
const slotOf = (key: string): number => {
  let hash = 0x811c9dc5
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193)
  return (hash >>> 0) % slots
}
