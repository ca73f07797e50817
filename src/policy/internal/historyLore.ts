/**
 * What all runs together know about names: the code that goes with a name (`Seattle (SEA)`), and the year that most dates are in.
 * A view reads texts with it. It never changes: learning makes a new one, and views that read with an older one read again.
 */
import type { Known } from "./historyText.ts"

/** What a view reads texts with. */
export interface Lore {
  readonly codes: ReadonlyMap<string, string>
  readonly year: string | undefined
}

/** Nothing known. */
export const noLore: Lore = { codes: new Map(), year: undefined }

/** What one conversation says itself goes before what is known from others. */
export const knownIn = (
  lore: Lore,
  own: { readonly codes: ReadonlyMap<string, string>; readonly year: string | undefined }
): Known => ({
  code: (name) => own.codes.get(name) ?? lore.codes.get(name),
  year: () => own.year ?? lore.year
})
