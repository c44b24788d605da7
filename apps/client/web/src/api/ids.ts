/** When something with this id, a UUIDv7, was made (RFC 9562, section 5.7). */
export function madeAt(id: string): string {
  const milliseconds = Number.parseInt(id.replace('-', '').slice(0, 12), 16)
  return new Date(Number.isNaN(milliseconds) ? 0 : milliseconds).toISOString()
}
