import { Button } from '@base-ui/react/button'
import { useState } from 'react'
import styles from './Folded.module.css'
import { squeezed } from './squeezed'

/** A text is folded if it has more characters or lines than this. */
const most = { characters: 1_500, lines: 20 }

/** A text that somebody wrote. Of a long one the beginning is shown, until the reader asks for the rest. */
export function Folded({ text, className }: { text: string; className: string | undefined }) {
  const [isOpen, setOpen] = useState(false)
  const shown = squeezed(text)
  const isLong = shown.length > most.characters || shown.split('\n').length > most.lines
  return (
    <>
      <p className={isLong && !isOpen ? `${className} ${styles.folded}` : className} dir="auto">
        {shown}
      </p>
      {isLong && (
        <Button className={`quiet ${styles.more}`} aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          {isOpen ? 'Show less' : 'Show more'}
        </Button>
      )}
    </>
  )
}
