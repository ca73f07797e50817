/**
 * Whether the store is asked at all. It opens after some failures in a row; while it is open the store gets one probe from
 * time to time, and the first good one closes it. Plain numbers: the caller says what happened and when.
 */
const failuresToOpen = 3

export class Circuit {
  private readonly probeMillis: number
  private failures = 0
  isOpen = false
  isProbing = false
  /** When the next probe may be sent. */
  probeAt = 0

  constructor(probeMillis: number) {
    this.probeMillis = probeMillis
  }

  /** While it is open nothing but the probe is sent, so that is what failed then; or something sent before. */
  failed(now: number): void {
    this.failures++
    if (this.failures < failuresToOpen) return
    this.isOpen = true
    this.isProbing = false
    this.probeAt = now + this.probeMillis
  }

  succeeded(): void {
    this.failures = 0
    this.isOpen = false
    this.isProbing = false
  }

  /** Whether a probe is to be sent now; it is, then. */
  probes(now: number): boolean {
    if (!this.isOpen || this.isProbing || now < this.probeAt) return false
    this.isProbing = true
    return true
  }
}
