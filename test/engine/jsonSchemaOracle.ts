/**
 * JSON Schema 2020-12 as its specification reads, for tests: slow, by annotation sets, without references leaving `$defs`.
 * Written from the text of Core (sections 10, 11) and Validation (section 6); it shares nothing with the validator it judges.
 */
type Schema = boolean | { readonly [keyword: string]: unknown }

interface Verdict {
  readonly valid: boolean
  readonly seen: ReadonlySet<string>
}

const none: ReadonlySet<string> = new Set()
const invalid: Verdict = { valid: false, seen: none }

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const typeOf = (value: unknown): string => value === null ? "null" : Array.isArray(value) ? "array" : typeof value

const hasType = (value: unknown, type: string): boolean =>
  type === "integer" ? Number.isInteger(value) : typeOf(value) === type

const same = (a: unknown, b: unknown): boolean => {
  if (Array.isArray(a)) return Array.isArray(b) && a.length === b.length && a.every((each, i) => same(each, b[i]))
  if (!isObject(a)) return a === b
  const keys = Object.keys(a)
  return isObject(b) && keys.length === Object.keys(b).length
    && keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]))
}

/** Whether a value is valid; `root` is where `$defs` are looked up. */
export const oracle = (schema: Schema, value: unknown, root: Schema = schema): boolean =>
  check(schema, value, root).valid

const check = (schema: Schema, value: unknown, root: Schema): Verdict => {
  if (typeof schema === "boolean") return schema ? { valid: true, seen: none } : invalid
  // What the subschemas applied to this same value have evaluated, where they were valid.
  const seen = new Set<string>()
  const here = (each: unknown): boolean => {
    const verdict = check(each as Schema, value, root)
    if (verdict.valid) verdict.seen.forEach((name) => seen.add(name))
    return verdict.valid
  }
  const list = (keyword: string): ReadonlyArray<unknown> => schema[keyword] as ReadonlyArray<unknown> | undefined ?? []
  const has = (keyword: string): boolean => Object.hasOwn(schema, keyword)
  const number = (keyword: string): number => Number(schema[keyword])
  let ok = true
  const must = (rule: boolean): void => {
    ok &&= rule
  }

  if (has("$ref")) {
    const name = String(schema["$ref"]).replace("#/$defs/", "")
    must(
      here(
        schema["$ref"] === "#" ? root : ((root as Record<string, unknown>)["$defs"] as Record<string, unknown>)[name]
      )
    )
  }
  if (has("type")) must([schema["type"]].flat().some((type) => hasType(value, String(type))))
  if (has("const")) must(same(schema["const"], value))
  if (has("enum")) must(list("enum").some((each) => same(each, value)))
  if (has("allOf")) must(list("allOf").map(here).every(Boolean))
  if (has("anyOf")) must(list("anyOf").map(here).some(Boolean))
  if (has("oneOf")) must(list("oneOf").map(here).filter(Boolean).length === 1)
  if (has("not")) must(!check(schema["not"] as Schema, value, root).valid)
  if (has("if")) {
    const branch = here(schema["if"]) ? "then" : "else"
    if (has(branch)) must(here(schema[branch]))
  }
  if (typeof value === "number") {
    if (has("minimum")) must(value >= number("minimum"))
    if (has("exclusiveMaximum")) must(value < number("exclusiveMaximum"))
    if (has("multipleOf")) must(Number.isInteger(value / number("multipleOf")))
  }
  if (typeof value === "string") {
    if (has("maxLength")) must([...value].length <= number("maxLength"))
    if (has("pattern")) must(new RegExp(String(schema["pattern"]), "u").test(value))
  }
  if (Array.isArray(value)) must(checkItems(schema, value, root, seen))
  if (isObject(value)) must(checkProperties(schema, value, root, seen, here))
  return ok ? { valid: true, seen } : invalid
}

const checkItems = (
  schema: Record<string, unknown>,
  value: ReadonlyArray<unknown>,
  root: Schema,
  seen: Set<string>
): boolean => {
  const rules: Array<boolean> = []
  const at = (each: unknown, index: number): boolean => {
    seen.add(String(index))
    return check(each as Schema, value[index], root).valid
  }
  const first = schema["prefixItems"] as ReadonlyArray<unknown> | undefined ?? []
  for (const index of value.keys()) {
    if (index < first.length) rules.push(at(first[index], index))
    else if (schema["items"] !== undefined) rules.push(at(schema["items"], index))
  }
  if (schema["contains"] !== undefined) {
    const found = [...value.keys()].filter((index) => check(schema["contains"] as Schema, value[index], root).valid)
    found.forEach((index) => seen.add(String(index)))
    rules.push(found.length >= Number(schema["minContains"] ?? 1))
    rules.push(found.length <= Number(schema["maxContains"] ?? Infinity))
  }
  if (schema["minItems"] !== undefined) rules.push(value.length >= Number(schema["minItems"]))
  if (schema["uniqueItems"] === true) {
    rules.push(value.every((a, i) => value.every((b, j) => i === j || !same(a, b))))
  }
  if (schema["unevaluatedItems"] !== undefined) {
    for (const index of value.keys()) if (!seen.has(String(index))) rules.push(at(schema["unevaluatedItems"], index))
  }
  return rules.every(Boolean)
}

const checkProperties = (
  schema: Record<string, unknown>,
  value: Record<string, unknown>,
  root: Schema,
  seen: Set<string>,
  here: (schema: unknown) => boolean
): boolean => {
  const rules: Array<boolean> = []
  const own = new Set<string>()
  const at = (each: unknown, key: string): void => {
    own.add(key)
    rules.push(check(each as Schema, value[key], root).valid)
  }
  const map = (keyword: string): ReadonlyArray<readonly [string, unknown]> => Object.entries(schema[keyword] ?? {})
  const present = (key: string): boolean => Object.hasOwn(value, key)
  for (const [key, each] of map("properties")) if (present(key)) at(each, key)
  for (const [source, each] of map("patternProperties")) {
    for (const key of Object.keys(value)) if (new RegExp(source, "u").test(key)) at(each, key)
  }
  if (schema["additionalProperties"] !== undefined) {
    for (const key of Object.keys(value).filter((each) => !own.has(each))) at(schema["additionalProperties"], key)
  }
  for (const key of Object.keys(value)) {
    if (schema["propertyNames"] !== undefined) rules.push(check(schema["propertyNames"] as Schema, key, root).valid)
  }
  for (const key of (schema["required"] ?? []) as ReadonlyArray<string>) rules.push(present(key))
  for (const [key, keys] of map("dependentRequired")) {
    if (present(key)) rules.push((keys as ReadonlyArray<string>).every(present))
  }
  for (const [key, each] of map("dependentSchemas")) if (present(key)) rules.push(here(each))
  if (schema["maxProperties"] !== undefined) rules.push(Object.keys(value).length <= Number(schema["maxProperties"]))
  own.forEach((key) => seen.add(key))
  if (schema["unevaluatedProperties"] !== undefined) {
    for (const key of Object.keys(value).filter((each) => !seen.has(each))) {
      seen.add(key)
      rules.push(check(schema["unevaluatedProperties"] as Schema, value[key], root).valid)
    }
  }
  return rules.every(Boolean)
}
