/**
 * The short way through an ask, in Lua made for a lane's rules: when all heads fit, nobody else waits in the lane and nobody has
 * a claim, a few commands take them. In any other case it has written nothing, and the whole script behind it answers.
 *
 * Lanes with the same rules share the script, whatever they are called: names are arguments. It may skip what the whole script
 * checks, never decide otherwise: both are held to the same suite, and to each other.
 */
import { epochSeconds, kinds } from "./redisRules.ts"

/** A limit's numbers, and where its state is: indexes of KEYS (`key` 0: it has no key of its own). */
export interface Numbers {
  readonly kind: number
  readonly unit: 0 | 1
  readonly size: number
  readonly rate: number
  readonly span: number
  readonly keep: number
  readonly hash: number
  readonly key: number
}

// Lua has 200 local variables a function.
const mostLimits = 20

/**
 * Arguments: the JSON of the whole script, the sum of calls, of tokens, the number of heads, the lane's field, each limit's
 * field, then `id, calls` of each head where the lane has permits. Undefined for rules that have no short way.
 */
export const fastWay = (limits: ReadonlyArray<Numbers>, waitingHash: number): string | undefined => {
  const quick: ReadonlyArray<number> = [kinds.bucket, kinds.calls, kinds.permits]
  if (limits.length > mostLimits || limits.some(({ kind }) => !quick.includes(kind))) return undefined
  const hashes = [...new Set([1, waitingHash, ...limits.map(({ hash }) => hash)])]
  return `
repeat
  local call, bytes, pack, max = redis.call, struct.unpack, struct.pack, math.max
  local n = {tonumber(ARGV[2]), tonumber(ARGV[3])}
${hashes.map((hash) => read(hash, limits, waitingHash)).join("")}${clock(limits)}
${hashes.filter((hash) => hash !== 1).map((hash) => `  if not lives${hash}(now) then break end\n`).join("")}
${limits.map(check).join("")}
${hashes.map((hash) => write(hash, limits)).join("")}${limits.map((limit, i) => take(limit, i, limits.length)).join("")}
  do return {now, tonumber(ARGV[4]), 0, -1, 0, -1} end
until true
`
}

const fieldOf = (index: number): string => `ARGV[${6 + index}]`

const bucketsOf = (hash: number, limits: ReadonlyArray<Numbers>): ReadonlyArray<number> =>
  limits.flatMap((limit, i) => limit.hash === hash && limit.kind === kinds.bucket ? [i] : [])

const keepOf = (limits: ReadonlyArray<Numbers>): number => limits.reduce((most, { keep }) => Math.max(most, keep), 0)

// Of each hash: its clock or its end, the buckets, and in one of them how many wait.
const read = (hash: number, limits: ReadonlyArray<Numbers>, waitingHash: number): string => {
  const buckets = bucketsOf(hash, limits)
  const names = [hash === 1 ? "'t', 'c'" : "'e'", ...buckets.map(fieldOf), ...(hash === waitingHash ? ["ARGV[5]"] : [])]
  const first = hash === 1 ? 3 : 2
  const waiting = `v${hash}[${first + buckets.length}]`
  const keep = keepOf(limits.filter((limit) => limit.hash === hash))
  return [
    `  local v${hash} = call('HMGET', KEYS[${hash}], ${names.join(", ")})\n`,
    ...buckets.map((i, at) => `  local s${i} = v${hash}[${first + at}]\n`),
    hash === waitingHash ? `  if ${waiting} and #${waiting} > 0 then break end\n` : "",
    hash === 1 ? "" : [
      `  local function lives${hash}(now)\n`,
      `    return v${hash}[1] and #v${hash}[1] == 8 and bytes('<d', v${hash}[1]) >= now + ${keep}\n  end\n`
    ].join("")
  ].join("")
}

const clock = (limits: ReadonlyArray<Numbers>): string => `
  if not v1[1] or #v1[1] ~= 24 or v1[2] and #v1[2] > 0 then break end
  local last, offset, ends = bytes('<ddd', v1[1])
  local time = call('TIME')
  local raw = (time[1] - ${epochSeconds}) * 1000000 + time[2]
  local now = raw
  if raw < last then now = max(last, raw + offset) end
  if ends < now + ${keepOf(limits)} then break end
`

const check = ({ key, kind, rate, size, span, unit }: Numbers, i: number): string => {
  const n = `n[${unit + 1}]`
  switch (kind) {
    case kinds.bucket:
      return `  local d${i} = ${n} * ${span}
  if s${i} then
    if #s${i} ~= 16 then break end
    local at, debt = bytes('<dd', s${i})
    d${i} = d${i} + max(0, debt - max(0, now - at) * ${rate})
  end
  if d${i} > ${size} * ${span} then break end
`
    case kinds.calls:
      return `  local l${i} = call('LLEN', KEYS[${key}])
  local g${i} = l${i} + ${n} - ${size}
  if g${i} > 0 and (g${i} > l${i} or call('LINDEX', KEYS[${key}], g${i} - 1) + ${span} > now) then break end
`
    default:
      return `  if call('ZCARD', KEYS[${key}]) + ${n} > ${size} then break end\n`
  }
}

const write = (hash: number, limits: ReadonlyArray<Numbers>): string => {
  const states = bucketsOf(hash, limits).map((i) => `${fieldOf(i)}, pack('<dd', now, d${i})`)
  const pairs = hash === 1 ? ["'t', pack('<ddd', now, now - raw, ends)", ...states] : states
  return pairs.length === 0 ? "" : `  call('HSET', KEYS[${hash}], ${pairs.join(", ")})\n`
}

const take = ({ key, kind, span, unit }: Numbers, i: number, count: number): string => {
  const n = `n[${unit + 1}]`
  const expire = `  call('PEXPIRE', KEYS[${key}], ${Math.ceil(Math.min(span / 1000, 1e13)) + 1000})\n`
  switch (kind) {
    case kinds.calls:
      return `  if ${n} == 1 then call('RPUSH', KEYS[${key}], now) else
    for from = 1, ${n}, 2000 do
      local times = {}
      for k = from, math.min(from + 1999, ${n}) do times[#times + 1] = now end
      call('RPUSH', KEYS[${key}], unpack(times))
    end
  end
  if g${i} == 1 then call('LPOP', KEYS[${key}]) elseif g${i} > 1 then call('LTRIM', KEYS[${key}], g${i}, -1) end
${expire}`
    case kinds.permits:
      return `  local m${i} = {}
  for h = ${6 + count}, #ARGV, 2 do
    for k = 1, ARGV[h + 1] do
      m${i}[#m${i} + 1] = now + ${span}
      m${i}[#m${i} + 1] = k == 1 and ARGV[h] or ARGV[h] .. '#' .. string.format('%.0f', k)
    end
  end
  for from = 1, #m${i}, 2000 do
    call('ZADD', KEYS[${key}], unpack(m${i}, from, math.min(from + 1999, #m${i})))
  end
${expire}`
    default:
      return ""
  }
}
