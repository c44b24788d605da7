/*
 * A position in the log as query writes it: "4/<log>/<event>", or the number alone. It has the number of an
 * event, the log's id and the event's id. The ids of the stream are positions.
 */

/** The number in a position, or undefined if the text is not a position. */
export function numberIn(position: string | null | undefined): number | undefined {
  const number = /^\d+(?=\/|$)/.exec(position ?? '')?.[0]
  return number === undefined || !Number.isSafeInteger(Number(number)) ? undefined : Number(number)
}

/** The id of the log in a position, or undefined if the position does not have it. */
export function logIn(position: string | undefined): string | undefined {
  return /^\d+\/([^/]+)\//.exec(position ?? '')?.[1]
}
