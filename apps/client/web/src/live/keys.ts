/** The keys of the query cache, and the type of what each key holds. */
export const keys = {
  /** The pages of the list of posts: InfiniteData<FeedPage>. */
  feed: ['feed'] as const,
  /** Posts that arrived live, and the visitor's own: Arrived[]. */
  arrived: ['arrived'] as const,
  /** The pages of a post's comments: InfiniteData<CommentsPage>. */
  post: (id: string) => ['post', id] as const,
  /** The visitor's own comments on a post, which query may not have yet: Comment[]. */
  ownComments: (postId: string) => ['own-comments', postId] as const,
  /** A comment as its author sees it: Comment. */
  ownComment: (id: string) => ['own-comment', id] as const,
}
