/** The part of a post's address that leads to one of its comments. */
export const anchorOf = (commentId: string) => `comment-${commentId}`

/** The id of the comment that such a part leads to. */
export function commentAt(hash: string): string | undefined {
  return /^#comment-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/.exec(hash)?.[1]
}
