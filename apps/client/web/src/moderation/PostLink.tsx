import { useQuery } from '@tanstack/react-query'
import { Link } from 'wouter'
import { keys } from '../live/keys'
import { readTitle } from './api'

/** The link to a post, by its title as soon as that is read. */
export function PostLink({ id }: { id: string }) {
  const { data: title } = useQuery({ queryKey: keys.title(id), queryFn: ({ signal }) => readTitle(id, signal), retry: false })
  return <Link href={`/p/${id}`}><bdi>{title ?? 'The post'}</bdi></Link>
}
