/** What is kept of the server's, and under which key of the query cache. */
export const keys = {
  /** The pages of the list of posts: InfiniteData<FeedPage>. */
  feed: ['feed'] as const,
  /** Posts that came live, and the visitor's own: Arrived[]. */
  arrived: ['arrived'] as const,
  /** The pages of a post's comments: InfiniteData<CommentsPage>. */
  post: (id: string) => ['post', id] as const,
  /** Comments of the visitor's on a post that query may not have yet: Comment[]. */
  ownComments: (postId: string) => ['own-comments', postId] as const,
}
