import { Link } from 'wouter'
import type { Change, Post } from '../api/types'
import { useChanges } from '../live/useLive'
import type { Me } from '../people/me'
import { useMe } from '../people/useMe'
import { announce } from '../ui/announce'
import { Ago } from '../ui/Ago'
import { count } from '../ui/count'
import { More } from '../ui/More'
import { squeezed } from '../ui/squeezed'
import { Trouble } from '../ui/Trouble'
import { Waiting } from '../ui/Waiting'
import { CommentItem } from './CommentItem'
import { closed, NewComment } from './NewComment'
import styles from './PostPage.module.css'
import { useLinked } from './useLinked'
import { isOwnComment, usePost } from './usePost'

/** One post at its own address, with its comments. */
export function PostPage({ id }: { id: string }) {
  const { post, comments, ...read } = usePost(id)
  const me = useMe()
  const linked = useLinked(comments, read)
  useChanges((change) => {
    const news = newsOf(change, id, me)
    if (news !== undefined) announce(news)
  })
  if (!post && read.missing) {
    return (
      <>
        <title>No such post · Postbus</title>
        <h1>There is no such post</h1>
        <p>
          The address may be wrong. <Link href="/">All posts</Link>
        </p>
      </>
    )
  }
  // What the visitor can read: the approved ones, and their own.
  const readable = (post?.commentCounts?.approved ?? 0) + comments.filter(({ status, content }) => status !== 'approved' && content !== undefined).length
  return (
    <>
      <title>{post ? `${post.title} · Postbus` : 'Postbus'}</title>
      <p className={styles.back}>
        <Link href="/">
          <span aria-hidden="true">← </span>All posts
        </Link>
      </p>
      {!post && <h1 className="unseen">A post</h1>}
      {!post && (read.failureCount > 0 ? (
        <Trouble onRetry={() => void read.refetch()}>This post can’t be read right now.</Trouble>
      ) : (
        <Waiting>Reading the post…</Waiting>
      ))}
      {post && <Article post={post} />}
      <section aria-labelledby="comments-heading" className={styles.comments}>
        <h2 id="comments-heading">{readable > 0 ? count(readable, 'comment') : post && comments.length === 0 ? 'No comments yet' : 'Comments'}</h2>
        <NewComment
          postId={id}
          isClosed={post?.commenting === 'closed'}
          onSent={(comment) => {
            read.addOwn(comment)
            // The stream may have delivered the moderated comment before the POST was answered.
            const { status } = read.known(comment.id) ?? comment
            const isDecided = status === 'approved' || status === 'rejected'
            announce(isDecided ? `Your comment is ${status}.` : 'Your comment is sent. It is awaiting moderation.')
          }}
        />
        {comments.length > 0 && (
          <ol className={styles.list} aria-label="Comments">
            {comments.map((comment) => (
              <CommentItem key={comment.id} comment={comment} own={isOwnComment(comment, me)} isLinked={comment.id === linked} />
            ))}
          </ol>
        )}
        {read.hasNextPage && (
          <More
            label="Load older comments"
            trouble="Older comments can’t be read right now."
            loading={read.isFetchingNextPage}
            failing={read.isFetchingNextPage ? read.failureCount > 0 : read.isFetchNextPageError}
            load={() => void read.fetchNextPage()}
          />
        )}
      </section>
    </>
  )
}

function Article({ post }: { post: Post }) {
  return (
    <article>
      <h1 className={styles.title} dir="auto">
        {post.title}
      </h1>
      <p className={styles.meta}>
        {post.author !== undefined && (
          <>
            <bdi>{post.author}</bdi> ·{' '}
          </>
        )}
        <Ago time={post.createdAt} />
      </p>
      {post.body !== '' && (
        <div className={styles.body} dir="auto">
          {squeezed(post.body)}
        </div>
      )}
    </article>
  )
}

/**
 * The announcement of a change for screen readers: the outcome of the visitor's comment, others' comments once
 * they are approved, and that comments are closed or open.
 */
function newsOf(change: Change, postId: string, me: Me): string | undefined {
  if (change.type === 'PostCreated' || change.postId !== postId) return undefined
  if (change.type === 'PostCommentingChanged') return change.commenting === 'closed' ? closed : 'Comments are open again.'
  const { author, status } = change.comment
  // The comment itself announces its rejection.
  if (status !== 'approved') return undefined
  return isOwnComment(change.comment, me) ? 'Your comment is approved.' : `New comment by ${author ?? 'Anonymous'}.`
}
