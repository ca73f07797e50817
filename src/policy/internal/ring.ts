/**
 * A list that its own members link: adding, leaving from the middle and going to the end cost nothing, however many wait. A
 * member is in at most one ring at a time.
 */
export interface Linked<T> {
  previous: T | undefined
  next: T | undefined
}

export class Ring<T extends Linked<T>> {
  first: T | undefined
  last: T | undefined

  push(member: T): void {
    member.previous = this.last
    member.next = undefined
    if (this.last === undefined) this.first = member
    else this.last.next = member
    this.last = member
  }

  unshift(member: T): void {
    member.next = this.first
    member.previous = undefined
    if (this.first === undefined) this.last = member
    else this.first.previous = member
    this.first = member
  }

  remove(member: T): void {
    if (member.previous === undefined) this.first = member.next
    else member.previous.next = member.next
    if (member.next === undefined) this.last = member.previous
    else member.next.previous = member.previous
    member.previous = undefined
    member.next = undefined
  }
}
