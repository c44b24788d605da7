const minute = 60_000
const hour = 60 * minute
const day = 24 * hour

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' })
const date = new Intl.DateTimeFormat('en', { day: 'numeric', month: 'long' })
const dateOfAnotherYear = new Intl.DateTimeFormat('en', { day: 'numeric', month: 'long', year: 'numeric' })

/**
 * How long ago a time is, for people. After a week it is a date. A time in the future counts as now, because
 * the clocks of visitors and services differ.
 */
export function ago(then: Date, now: Date): string {
  const age = now.getTime() - then.getTime()
  if (age < minute) return 'just now'
  if (age < hour) return relative.format(-Math.floor(age / minute), 'minute')
  if (age < day) return relative.format(-Math.floor(age / hour), 'hour')
  if (age < 7 * day) return relative.format(-Math.floor(age / day), 'day')
  return (then.getFullYear() === now.getFullYear() ? date : dateOfAnotherYear).format(then)
}
