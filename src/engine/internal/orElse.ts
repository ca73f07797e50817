/** Calls foreign code where no effect is at hand to hold what it throws: a tracer, a comparison of what a model sent. */
export const orElse = <A, B>(f: () => A, fallback: B): A | B => {
  try {
    return f()
  } catch {
    return fallback
  }
}
